// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace perigee {

/// How many percent of a shard's room must have been used since the last use of a block that was copied elsewhere, until
/// it goes before all others; 0: copies are blocks like any others.
inline constexpr uint32_t copies_cool_default = 0;

/// Which block a cache shard gives up when it needs room. Whatever the rule, a block that is leased, or that has a
/// cached successor in its prefix, is not given up: what is cached stays closed under prefixes.
enum class eviction : uint8_t {
  lru,
  lfu,
  length_aware,
  reuse,
};

inline constexpr auto all_evictions =
  std::array{eviction::lru, eviction::lfu, eviction::length_aware, eviction::reuse};

constexpr const char* to_string(eviction rule) noexcept {
  switch (rule) {
  case eviction::lru: return "lru";
  case eviction::lfu: return "lfu";
  case eviction::length_aware: return "length-aware";
  case eviction::reuse: return "reuse";
  }
  return "unknown";
}

/// One line for people.
constexpr const char* summary_of(eviction rule) noexcept {
  switch (rule) {
  case eviction::lru: return "the least recently used one";
  case eviction::lfu: return "the one read least often, the least recently used of them";
  case eviction::length_aware: return "the one farthest from the beginning of its prompt, the least recently used of them";
  case eviction::reuse: return "the one with the fewest reads to expect for the time it would stay, learned from what is read again";
  }
  return "unknown";
}

constexpr std::optional<eviction> find_eviction(std::string_view name) noexcept {
  for (auto rule : all_evictions)
    if (name == to_string(rule))
      return rule;
  return std::nullopt;
}

} // namespace perigee
