// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/analysis.hpp"

#include <algorithm>

namespace perigee::sim {

namespace {

uint64_t tokens_of(uint64_t blocks, uint32_t input_tokens) {
  return std::min<uint64_t>(blocks * trace_block_tokens, input_tokens);
}

} // namespace

trace_analyzer::trace_analyzer(analysis_options options) : options_(std::move(options)) {
  auto try_out = [&](eviction rule) {
    auto& trials = trials_.emplace_back();
    for (auto tokens : options_.cache_tokens) {
      auto blocks = tokens / trace_block_tokens;
      trials.push_back({block_cache{rule, blocks}, {tokens, blocks, 0, 0, std::nullopt}});
    }
  };
  try_out(eviction::lru);
  for (auto rule : options_.others)
    try_out(rule);
}

void trace_analyzer::add(const trace_request& request) {
  if (sums_.requests++ == 0)
    first_ns_ = request.arrival_ns;
  last_ns_ = request.arrival_ns;
  inputs_.push_back(request.input_tokens);
  outputs_.push_back(request.output_tokens);
  request_.clear();
  auto ideal = uint64_t{0};
  for (auto id : request.blocks) {
    auto [dense, is_new] = ids_.find_or_add(id, {static_cast<uint32_t>(ids_.size())});
    ideal += is_new ? 0 : 1;
    request_.push_back(dense.value);
  }
  sums_.blocks += request_.size();
  sums_.ideal_hit_blocks += ideal;
  sums_.ideal_hit_tokens += tokens_of(ideal, request.input_tokens);
  for (auto& trials : trials_)
    for (auto& at : trials) {
      auto hit = at.cache.match_and_insert(request_);
      at.result.hit_blocks += hit;
      at.result.hit_tokens += tokens_of(hit, request.input_tokens);
    }
  if (options_.bound)
    accesses_.insert(accesses_.end(), request_.begin(), request_.end());
}

trace_analysis trace_analyzer::result() const {
  auto result = sums_;
  result.span_ns = last_ns_ - first_ns_;
  result.input_tokens = distribution_of(inputs_);
  result.output_tokens = distribution_of(outputs_);
  result.unique_blocks = ids_.size();
  auto results_of = [&](size_t number) {
    auto caches = std::vector<cache_analysis>{};
    for (const auto& at : trials_[number])
      caches.push_back(at.result);
    return caches;
  };
  result.lru = results_of(0);
  for (size_t i = 0; i < options_.others.size(); ++i)
    result.others.push_back({options_.others[i], results_of(i + 1)});
  if (options_.bound)
    for (auto& cache : result.lru)
      cache.bound_blocks = belady_hits(accesses_, cache.capacity_blocks);
  return result;
}

} // namespace perigee::sim
