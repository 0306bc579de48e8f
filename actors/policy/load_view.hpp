// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/routing_messages.hpp"

#include <array>
#include <vector>

namespace perigee {

/// What a policy knows of the instances, by role and index: a table, because a decision looks at every candidate.
class load_view {
public:
  void set(const instance_load& load) {
    auto* loads = of(load.who.kind);
    if (!loads)
      return;
    auto& burdens = load.who.kind == role::decode ? decode_tokens_ : prefill_free_at_ns_;
    if (load.who.index >= loads->size()) {
      loads->resize(load.who.index + 1);
      burdens.resize(load.who.index + 1, UINT64_MAX);
    }
    (*loads)[load.who.index] = load;
    burdens[load.who.index] = load.who.kind == role::decode ? load.tokens : load.free_at_ns;
    ++version_;
  }

  void erase(const address& who) {
    auto* loads = of(who.kind);
    if (!loads || who.index >= loads->size() || (*loads)[who.index].who != who)
      return;
    (*loads)[who.index] = {};
    (who.kind == role::decode ? decode_tokens_ : prefill_free_at_ns_)[who.index] = UINT64_MAX;
    ++version_;
  }

  /// Null if nothing was heard of that instance: it must not be taken for an idle one.
  const instance_load* find(role kind, uint32_t index) const {
    const auto& loads = loads_[kind == role::decode];
    return index < loads.size() && loads[index].who.valid() ? &loads[index] : nullptr;
  }

  /// By index; without an address where unknown.
  const std::vector<instance_load>& all(role kind) const {
    return loads_[kind == role::decode];
  }

  /// What nearly every decision asks of all instances, side by side: by index of a prefill instance, when it has
  /// computed what is placed there; UINT64_MAX where unknown.
  const std::vector<uint64_t>& prefill_free_at_ns() const noexcept {
    return prefill_free_at_ns_;
  }
  /// By index of a decode instance, tokens reserved; UINT64_MAX where unknown.
  const std::vector<uint64_t>& decode_tokens() const noexcept {
    return decode_tokens_;
  }

  /// How many changes it has seen.
  uint64_t version() const noexcept {
    return version_;
  }

private:
  std::vector<instance_load>* of(role kind) {
    if (kind == role::prefill || kind == role::decode)
      return &loads_[kind == role::decode];
    return nullptr;
  }

  std::array<std::vector<instance_load>, 2> loads_; // prefill, decode; without an address where unknown
  std::vector<uint64_t> prefill_free_at_ns_;
  std::vector<uint64_t> decode_tokens_;
  uint64_t version_ = 0;
};

} // namespace perigee
