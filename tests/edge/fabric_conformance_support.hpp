// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/edge/fabric_conformance.hpp"

#include <algorithm>
#include <optional>

/// What the cases share: short ways to say who writes what to whom.
namespace perigee::testing {

constexpr size_t KiB = 1024;
constexpr size_t MiB = 1024 * KiB;

/// Two sides that reach each other: what each calls the other.
struct fabric_pair {
  transport::peer_id there = 0; ///< the second, as the first calls it
  transport::peer_id back = 0;  ///< the first, as the second calls it
};

inline fabric_pair join(fabric_side& a, fabric_side& b) {
  auto pair = fabric_pair{a->open_peer("b"), b->open_peer("a")};
  a->connect(pair.there, b->local_address(pair.back));
  b->connect(pair.back, a->local_address(pair.there));
  return pair;
}

inline transport::peer_id join(fabric_side& a, fabric_party& b) {
  auto there = a->open_peer("party");
  b.connect(a->local_address(there));
  a->connect(there, b.address());
  return there;
}

/// A write of `from`'s memory to `to`'s.
inline transport::transfer write_to(uint64_t id, const fabric_side& from, transport::peer_id peer,
                                    const transport::remote_region& to, std::vector<transport::piece> pieces,
                                    std::optional<uint32_t> immediate = {}) {
  return {id, transport::direction::write, peer, from.region, to, std::move(pieces), immediate};
}

inline transport::transfer read_from(uint64_t id, const fabric_side& to, transport::peer_id peer,
                                     const transport::remote_region& from, std::vector<transport::piece> pieces) {
  return {id, transport::direction::read, peer, to.region, from, std::move(pieces), {}};
}

inline void fill_pattern(std::span<std::byte> memory, uint32_t seed) {
  auto word = seed * 2654435761u + 1;
  for (auto& byte : memory) {
    word = word * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(word >> 24);
  }
}

inline bool all_are(std::span<const std::byte> memory, std::byte value) {
  return std::all_of(memory.begin(), memory.end(), [&](auto byte) { return byte == value; });
}

inline bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

inline std::span<std::byte> part(fabric_side& side, size_t offset, size_t bytes) {
  return std::span{side.memory}.subspan(offset, bytes);
}

inline bool done_once(const fabric_side& side, uint64_t first, uint64_t last) {
  for (auto id = first; id <= last; ++id)
    if (side.log.completed_times(id) != 1)
      return false;
  return true;
}

inline bool fenced(const fabric_side& side, transport::peer_id peer) {
  auto all = side.log.fences();
  return std::count(all.begin(), all.end(), peer) == 1;
}

} // namespace perigee::testing
