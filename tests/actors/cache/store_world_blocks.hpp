// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"
#include "transport/base/spread_key.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

/// Blocks of the store's world: what is in one follows from its key.
namespace perigee::testing::store_blocks {

inline constexpr size_t block_bytes = 48;
inline constexpr size_t part_bytes = 16;
inline constexpr uint32_t parts_of_block = block_bytes / part_bytes;
inline constexpr block_key junk = {999, 999};

using block = std::array<std::byte, block_bytes>;

inline block content_of(const block_key& key) {
  auto out = block{};
  for (size_t i = 0; i < block_bytes; i += 8) {
    auto word = spread_key(key.high * 1000 + key.low, i);
    std::memcpy(out.data() + i, &word, 8);
  }
  return out;
}

inline bool holds(const std::vector<std::byte>& memory, uint32_t slot, const block_key& key) {
  auto expected = content_of(key);
  return std::memcmp(memory.data() + slot * block_bytes, expected.data(), block_bytes) == 0;
}

inline void fill(std::vector<std::byte>& memory, uint32_t slot, const block_key& key) {
  auto bytes = content_of(key);
  std::memcpy(memory.data() + slot * block_bytes, bytes.data(), block_bytes);
}

} // namespace perigee::testing::store_blocks
