// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/toy_model.hpp"

#include "transport/base/spread_key.hpp"

#include <algorithm>

namespace perigee::sim {

uint64_t toy_model::weight(uint64_t tag, uint32_t position) noexcept {
  return spread_key(tag, position + 1u);
}

uint64_t toy_model::tag(uint64_t sum_before, token_id token, uint32_t position, uint32_t layer) const noexcept {
  auto place = (uint64_t{position} << 32) | layer;
  return spread_key(spread_key(sum_before ^ key, place), static_cast<uint64_t>(token) + 1);
}

uint64_t toy_model::fold(uint64_t word, std::span<const uint64_t> tags) noexcept {
  for (auto one : tags)
    word = spread_key(word ^ one, 1);
  return word;
}

token_id toy_model::choose(uint64_t word, const kernels::sample_request& request) const {
  const auto& params = request.params;
  if (params.temperature > 0)
    word = spread_key(spread_key(word ^ params.seed, request.choice + 1u), request.generated + 1u);
  auto result = spread_key(word, 1) % 1'000'000 < end_ppm
                  ? end_token
                  : static_cast<token_id>(spread_key(word, 2) % static_cast<uint64_t>(vocabulary));
  auto barred = [&](token_id token) {
    return request.generated < params.min_tokens
           && std::find(params.stop_ids.begin(), params.stop_ids.end(), token) != params.stop_ids.end();
  };
  for (token_id tried = 0; tried < vocabulary && barred(result); ++tried)
    result = (result + 1) % vocabulary;
  return result;
}

std::vector<uint64_t> toy_model::expected_tags(std::span<const token_id> tokens) const {
  std::vector<uint64_t> sums(layers);
  std::vector<uint64_t> result;
  result.reserve(tokens.size() * layers);
  for (uint32_t position = 0; position < tokens.size(); ++position)
    for (uint32_t layer = 0; layer < layers; ++layer) {
      result.push_back(tag(sums[layer], tokens[position], position, layer));
      sums[layer] += weight(result.back(), position);
    }
  return result;
}

std::vector<token_id> toy_model::expected_tokens(std::span<const token_id> prompt,
                                                 const kernels::sampling_params& sampling, uint32_t choice,
                                                 uint32_t max_tokens, std::span<const token_id> end_ids) const {
  std::vector<uint64_t> sums(layers);
  std::vector<uint64_t> tags(layers);
  uint32_t position = 0;
  auto take = [&](token_id token) {
    for (uint32_t layer = 0; layer < layers; ++layer) {
      tags[layer] = tag(sums[layer], token, position, layer);
      sums[layer] += weight(tags[layer], position);
    }
    ++position;
  };
  for (auto token : prompt)
    take(token);
  kernels::sample_request request;
  request.params = sampling;
  request.choice = choice;
  std::vector<token_id> result;
  while (result.size() < max_tokens) {
    request.generated = static_cast<uint32_t>(result.size());
    auto token = next(tags, request);
    result.push_back(token);
    if (std::find(end_ids.begin(), end_ids.end(), token) != end_ids.end())
      break;
    take(token);
  }
  return result;
}

void known_content::add(const toy_model& model, std::span<const token_id> tokens) {
  for (auto tag : model.expected_tags(tokens))
    tags_.insert(tag);
}

} // namespace perigee::sim
