// SPDX-License-Identifier: Apache-2.0
#include "kernels/engine.hpp"

#include "kernels/block_table.hpp"
#include "kernels/cpu/transformer.hpp"
#include "kernels/model/detokenizer.hpp"
#include "kernels/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace perigee::kernels {

namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>{std::chrono::steady_clock::now() - begin}.count();
}

bool go_on(uint32_t) {
  return true;
}

} // namespace

engine::engine(std::shared_ptr<const model> weights, const engine_options& options)
  : model_(std::move(weights)), options_(options), layout_(model_->layout(options.block_tokens)) {}

engine::~engine() = default;

/// Room for the KV of `tokens` positions; what the pool held is lost where it grows.
void engine::ensure_pool(uint32_t tokens) {
  auto blocks = layout_.blocks_for(tokens);
  if (transformer_ && blocks <= blocks_.size())
    return;
  transformer_.reset();
  pool_ = cpu::aligned_buffer<std::byte>{blocks * layout_.block_bytes()};
  auto table = block_table{{pool_.data(), pool_.size()}, layout_.block_bytes()};
  blocks_.clear();
  for (auto slot = 0u; slot < blocks; ++slot)
    blocks_.push_back(table.at(slot));
  auto how = cpu::transformer_options{options_.threads, options_.reference_kernels, options_.batch_invariant};
  transformer_ = std::make_unique<cpu::transformer>(model_, options_.block_tokens, how);
}

completion engine::complete(std::string_view prompt, const completion_options& options,
                            const std::function<bool(std::string_view)>& on_text) {
  return complete_tokens(model_->tokens().encode(prompt), options, on_text);
}

completion engine::complete_tokens(std::vector<token_id> prompt, const completion_options& options,
                                   const std::function<bool(std::string_view)>& on_text) {
  const auto& config = model_->config();
  if (prompt.empty() || prompt.size() >= config.context)
    throw failure(errc::invalid_argument,
                  fmt::format("the prompt has {} tokens; allowed: 1 to {}, one less than the context", prompt.size(),
                              config.context - 1));
  for (auto id : prompt)
    if (id < 0 || static_cast<uint32_t>(id) >= config.vocab)
      throw failure(errc::invalid_argument,
                    fmt::format("the prompt has token {}; allowed: 0 to {}", id, config.vocab - 1));
  if (options.max_tokens == 0)
    throw failure(errc::invalid_argument, "max_tokens is 0; allowed: 1 or more");
  auto request = sample_request{options.sampling, 0, 0, static_cast<uint32_t>(prompt.size()), prompt};
  request.params.stop_ids = options.ignore_eos ? std::vector<token_id>{} : config.eos;
  if (auto bad = check_sample(request, config.vocab); !bad.ok())
    throw failure(bad.code, bad.context);

  auto result = completion{};
  auto room = static_cast<uint32_t>(std::min<uint64_t>(config.context - prompt.size(), options.max_tokens));
  ensure_pool(static_cast<uint32_t>(prompt.size()) + room);
  auto chooser = sampler{};
  auto text = detokenizer{model_->tokens(), false};
  // Samples from the first wanted row and says whether another token is to come.
  auto take = [&] {
    auto token = chooser.sample(transformer_->logits(0), request);
    if (token < 0)
      throw failure(errc::corrupt, "no logit is a finite number");
    result.finish_reason = "stop";
    if (std::ranges::binary_search(request.params.stop_ids, token))
      return false;
    result.tokens.push_back(token);
    request.history.push_back(token);
    ++request.generated;
    auto piece = text.push(token);
    result.text += piece;
    if (on_text && !piece.empty() && !on_text(piece))
      return false;
    result.finish_reason = "length";
    return result.tokens.size() < room;
  };

  auto begin = std::chrono::steady_clock::now();
  auto chunk = options.chunk_tokens == 0 ? prompt.size() : size_t{options.chunk_tokens};
  for (auto at = size_t{0}; at < prompt.size(); at += chunk) {
    auto rows = std::vector<cpu::row>{};
    for (auto i = at; i < std::min(prompt.size(), at + chunk); ++i)
      rows.push_back({prompt[i], static_cast<uint32_t>(i), blocks_.data()});
    auto wanted = std::vector<uint32_t>{};
    if (at + chunk >= prompt.size())
      wanted.push_back(static_cast<uint32_t>(rows.size()) - 1);
    transformer_->forward(rows, wanted, go_on);
  }
  auto more = take();
  result.prefill_seconds = seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  while (more) {
    auto next = cpu::row{result.tokens.back(), static_cast<uint32_t>(request.history.size()) - 1, blocks_.data()};
    auto first = uint32_t{0};
    transformer_->forward({&next, 1}, {&first, 1}, go_on);
    more = take();
  }
  result.decode_seconds = seconds_since(begin);
  auto rest = text.finish();
  result.text += rest;
  if (on_text && !rest.empty())
    on_text(rest);
  result.prompt_tokens = std::move(prompt);
  return result;
}

} // namespace perigee::kernels
