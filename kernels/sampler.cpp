// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace perigee::kernels {

namespace {

constexpr auto lowest = -std::numeric_limits<float>::infinity();

uint64_t mix(uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/// A strict order: higher logit first, then lower id.
bool ranks_before(float a, token_id a_id, float b, token_id b_id) noexcept {
  return a != b ? a > b : a_id < b_id;
}

} // namespace

uint64_t random_word(uint64_t seed, uint32_t choice, uint32_t index) noexcept {
  return mix(mix(mix(seed) ^ choice) ^ index);
}

status check_sample(const sample_request& request, uint32_t vocab) {
  const auto& p = request.params;
  auto wrong = [](std::string_view field, auto found, std::string_view allowed) {
    return status{errc::invalid_argument, fmt::format("{} is {}; allowed: {}", field, found, allowed)};
  };
  if (!(p.temperature >= 0) || !std::isfinite(p.temperature))
    return wrong("temperature", p.temperature, "0 (greedy) or more");
  if (!(p.top_p > 0 && p.top_p <= 1))
    return wrong("top_p", p.top_p, "above 0, at most 1");
  if (p.top_k < 0)
    return wrong("top_k", p.top_k, "0 (all) or more");
  if (!(p.repetition_penalty > 0) || !std::isfinite(p.repetition_penalty))
    return wrong("repetition_penalty", p.repetition_penalty, "above 0");
  if (!std::isfinite(p.presence_penalty))
    return wrong("presence_penalty", p.presence_penalty, "a finite number");
  if (!std::isfinite(p.frequency_penalty))
    return wrong("frequency_penalty", p.frequency_penalty, "a finite number");
  auto in_vocab = [&](token_id id) { return id >= 0 && static_cast<uint32_t>(id) < vocab; };
  auto ids = fmt::format("ids from 0 to {}", vocab - 1);
  for (auto id : p.stop_ids)
    if (!in_vocab(id))
      return wrong("stop_ids", id, ids);
  if (!p.needs_history())
    return {};
  for (auto id : request.history)
    if (!in_vocab(id))
      return wrong("history", id, ids);
  if (request.prompt_tokens > request.history.size())
    return wrong("prompt_tokens", request.prompt_tokens,
                 fmt::format("at most {}, the length of history", request.history.size()));
  return {};
}

void sampler::penalize(const sample_request& request) {
  const auto& p = request.params;
  if (p.needs_history()) {
    counts_.resize(logits_.size());
    // Bit 31 remembers a prompt token, the rest counts generated ones.
    constexpr auto seen = uint32_t{1} << 31;
    for (auto i = size_t{0}; i < request.history.size(); ++i) {
      auto& count = counts_[static_cast<size_t>(request.history[i])];
      count = i < request.prompt_tokens ? count | seen : count + 1;
    }
    for (auto id : request.history) {
      auto count = std::exchange(counts_[static_cast<size_t>(id)], 0);
      if (count == 0)
        continue; // done already
      auto& logit = logits_[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / p.repetition_penalty : logit * p.repetition_penalty;
      if (auto generated = count & ~seen; generated > 0)
        logit -= p.presence_penalty + p.frequency_penalty * static_cast<float>(generated);
    }
  }
  if (request.generated < p.min_tokens)
    for (auto id : p.stop_ids)
      logits_[static_cast<size_t>(id)] = lowest;
}

token_id sampler::sample(std::span<const float> logits, const sample_request& request) {
  logits_.assign(logits.begin(), logits.end());
  penalize(request);
  // In two passes, which the compiler turns into vectors; no comparison holds for a NaN.
  auto highest = lowest;
  for (auto logit : logits_)
    highest = logit > highest ? logit : highest;
  if (!std::isfinite(highest))
    return -1;
  if (request.params.temperature == 0)
    return static_cast<token_id>(std::ranges::find(logits_, highest) - logits_.begin());
  return draw(request, highest);
}

token_id sampler::draw(const sample_request& request, float highest) {
  const auto& p = request.params;
  // 53 random bits in [0, 1).
  auto word = static_cast<double>(random_word(p.seed, request.choice, request.generated) >> 11) * 0x1p-53;
  if ((p.top_k > 0 && static_cast<size_t>(p.top_k) < logits_.size()) || p.top_p < 1)
    return draw_ranked(request, highest, word);
  // Weights replace the logits; in order of id.
  auto total = 0.0;
  for (auto& logit : logits_) {
    logit = logit > lowest ? std::exp((logit - highest) / p.temperature) : 0.0f;
    total += logit;
  }
  auto target = word * total;
  auto last = token_id{0};
  for (auto i = size_t{0}; i < logits_.size(); ++i) {
    if (logits_[i] == 0)
      continue;
    last = static_cast<token_id>(i);
    target -= logits_[i];
    if (target < 0)
      break;
  }
  return last;
}

token_id sampler::draw_ranked(const sample_request& request, float highest, double word) {
  const auto& p = request.params;
  auto weight = [&](float logit) { return static_cast<double>(std::exp((logit - highest) / p.temperature)); };
  ranked_.clear();
  auto all = 0.0;
  for (auto i = size_t{0}; i < logits_.size(); ++i)
    if (logits_[i] > lowest) {
      ranked_.push_back({logits_[i], static_cast<token_id>(i)});
      if (p.top_k == 0)
        all += weight(logits_[i]);
    }
  auto before = [](const candidate& a, const candidate& b) { return ranks_before(a.logit, a.id, b.logit, b.id); };
  auto sorted = size_t{0};
  if (p.top_k > 0) {
    if (auto limit = static_cast<size_t>(p.top_k); limit < ranked_.size()) {
      std::nth_element(ranked_.begin(), ranked_.begin() + static_cast<ptrdiff_t>(limit), ranked_.end(), before);
      ranked_.resize(limit);
    }
    std::ranges::sort(ranked_, before);
    sorted = ranked_.size();
    for (const auto& c : ranked_)
      all += weight(c.logit);
  }
  // Without top_k, rank only as far as top_p needs: it seldom asks for more than a few hundred of a hundred thousand.
  auto rank_until = [&](size_t count) {
    std::partial_sort(ranked_.begin() + static_cast<ptrdiff_t>(sorted), ranked_.begin() + static_cast<ptrdiff_t>(count),
                      ranked_.end(), before);
    sorted = count;
  };
  auto kept = size_t{0};
  auto mass = 0.0;
  while (kept < ranked_.size() && (kept == 0 || mass < p.top_p * all)) {
    if (kept == sorted)
      rank_until(std::min(ranked_.size(), std::max<size_t>(256, sorted * 4)));
    mass += weight(ranked_[kept++].logit);
  }
  auto target = word * mass;
  auto at = size_t{0};
  for (; at + 1 < kept; ++at) {
    target -= weight(ranked_[at].logit);
    if (target < 0)
      break;
  }
  return ranked_[at].id;
}

} // namespace perigee::kernels
