// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_route_index.hpp"

#include "actors/conductor/prefix_index.hpp"
#include "transport/base/spread_key.hpp"

#include <algorithm>
#include <map>
#include <random>

namespace perigee::cli {

index_memory measure_index(uint64_t blocks) {
  auto index = prefix_index{};
  auto empty = index.bytes();
  auto key = [](uint64_t number) { return block_key{spread_key(number, 3), spread_key(number, 4)}; };
  for (uint64_t i = 0; i < blocks; ++i)
    index.store(key(i), static_cast<uint32_t>(i % 64));
  auto one = index.bytes();
  auto further = std::vector<std::pair<uint64_t, uint32_t>>{}; // block, shard
  for (uint64_t i = 0; i < blocks; ++i)
    for (uint32_t more = 1; more <= i / 64 % 8; ++more)
      further.emplace_back(i, static_cast<uint32_t>((i + more * 7) % 64));
  auto random = std::mt19937_64{1};
  std::ranges::shuffle(further, random);
  for (auto [block, shard] : further)
    index.store(key(block), shard);
  return {blocks, static_cast<double>(one - empty) / static_cast<double>(blocks),
          static_cast<double>(index.bytes() - one) / static_cast<double>(further.size())};
}

std::vector<sim::trace_request> without_shared_block(std::span<const sim::trace_request> trace) {
  auto counts = std::map<uint64_t, uint64_t>{};
  for (const auto& request : trace)
    ++counts[request.blocks.front()];
  auto most = std::ranges::max_element(counts, {}, [](const auto& item) { return item.second; })->first;
  auto result = std::vector<sim::trace_request>{};
  for (auto request : trace) {
    if (request.blocks.front() == most && request.blocks.size() > 1) {
      request.blocks.erase(request.blocks.begin());
      request.input_tokens -= sim::trace_block_tokens;
    }
    result.push_back(std::move(request));
  }
  return result;
}

} // namespace perigee::cli
