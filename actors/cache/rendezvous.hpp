// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"
#include "transport/base/spread_key.hpp"

#include <cstdint>

namespace perigee {

/// The weight of one shard for one key: the home shard of a key is the live one with the highest weight (the lower
/// index on a tie). When a shard goes, only its own keys move.
constexpr uint64_t rendezvous_weight(const block_key& key, uint32_t shard_index) noexcept {
  return spread_key(spread_key(key.high, 1) ^ key.low, shard_index + uint64_t{1});
}

} // namespace perigee
