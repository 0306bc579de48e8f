// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/prefix_match.hpp"

namespace perigee {

void locality::rebuild(const std::map<uint32_t, uint32_t>& prefills, const std::map<uint32_t, uint32_t>& shards) {
  shards_.clear();
  instances_.clear();
  auto first_at = std::map<uint32_t, uint32_t>{}; // node, lowest shard
  for (auto [shard, node] : shards)
    first_at.emplace(node, shard);
  for (auto [prefill, node] : prefills) {
    auto same = shards.find(prefill);
    auto shard = std::optional<uint32_t>{};
    if (same != shards.end() && same->second == node)
      shard = prefill;
    else if (auto at = first_at.find(node); at != first_at.end())
      shard = at->second;
    shards_.resize(prefill + 1);
    shards_[prefill] = shard;
    if (!shard)
      continue;
    if (*shard >= instances_.size())
      instances_.resize(*shard + 1);
    instances_[*shard].push_back(prefill);
  }
}

std::optional<uint32_t> locality::shard_of(uint32_t prefill) const {
  return prefill < shards_.size() ? shards_[prefill] : std::nullopt;
}

void prefix_match::find(std::span<const block_key> keys, const prefix_index& blocks, const locality& where) {
  version_ = blocks.version();
  found_.clear();
  own_.assign(where.prefills(), 0);
  auto block = uint32_t{0};
  blocks.each(keys, [&](const prefix_index::known& at) {
    auto anyone = false;
    auto advance = [&](uint32_t prefill) {
      if (prefill >= own_.size() || own_[prefill] != block)
        return;
      own_[prefill] = block + 1;
      anyone = true;
    };
    if (block == found_.size() && !at.stored.empty()) {
      found_.push_back(at.stored);
      for (auto shard : at.stored)
        for (auto prefill : where.instances_at(shard))
          advance(prefill);
    }
    for (auto prefill : at.expected)
      advance(prefill);
    return ++block == found_.size() || anyone;
  });
}

} // namespace perigee
