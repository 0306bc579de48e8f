// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"

#include <algorithm>
#include <vector>

namespace perigee {

/// Which of the two instances on a device takes new work, where a device has one of each kind. A device that is to change its
/// role takes nothing new, and changes when what it has is done.
///
/// Decode instances are as few as keep a step, with all that is reserved at them, below a share of the promised time between
/// tokens, and their memory from filling; the other devices compute prompts. An idle device costs nothing as a prefill
/// instance and saves little as a decode instance, so nothing else decides. Between the shares `grow` and `shrink` nothing
/// changes: what a change was made for must not be undone by it.
///
/// Pure; remembers the roles. Instances without a twin stay what they are.
class device_roles {
public:
  struct shares {
    double grow = 0.65;   ///< of the promised time: above it a device becomes a decode instance
    double shrink = 0.55; ///< what a step may take after a decode instance has become a prefill instance
  };

  /// Before a decision; looks at the instances at most every `look_ns`.
  void update(const route_query& query, const load_view& view, const shares& limits) {
    if (query.now_ns < next_ns_)
      return;
    next_ns_ = query.now_ns + look_ns;
    find_devices(view);
    if (devices_.empty())
      return;
    finish_changes(view);
    choose(query, view, limits);
  }

  bool may_prefill(uint32_t index) const {
    const auto* at = find(by_prefill_, index);
    return !at || (at->computes && at->shall_compute);
  }
  bool may_decode(uint32_t index) const {
    const auto* at = find(by_decode_, index);
    return !at || (!at->computes && !at->shall_compute);
  }

private:
  static constexpr auto look_ns = uint64_t{20'000'000};
  static constexpr auto full_share = 0.85;   // of decode memory
  static constexpr auto roomy_share = 0.7;

  struct device {
    uint32_t prefill = 0;
    uint32_t decode = 0;
    bool computes = false;      ///< it is a prefill instance now
    bool shall_compute = false; ///< differs while it changes
  };

  /// What decode instances have in all, and how many there are.
  struct burden {
    double rows = 0;
    double tokens = 0;
    double capacity = 0;
    double instances = 0;

    void add(const instance_load& load) {
      rows += load.requests;
      tokens += static_cast<double>(load.tokens);
      capacity += static_cast<double>(load.tokens_capacity);
      ++instances;
    }
    bool exceeds(const step_cost& step, double step_ns_max, double memory_share, double fewer) const {
      auto left = instances - fewer;
      return left <= 0 || static_cast<double>(step.ns(rows / left, tokens / left)) > step_ns_max
             || tokens > memory_share * capacity * left / instances;
    }
  };

  const device* find(const std::vector<uint32_t>& places, uint32_t index) const {
    return index < places.size() && places[index] > 0 ? &devices_[places[index] - 1] : nullptr;
  }

  static void put(std::vector<uint32_t>& places, uint32_t index, size_t place) {
    if (index >= places.size())
      places.resize(index + 1);
    places[index] = static_cast<uint32_t>(place) + 1;
  }

  /// A device that is seen for the first time has the role that its work shows, or the one it begins in.
  void find_devices(const load_view& view) {
    for (const auto& prefill : view.all(role::prefill)) {
      if (!prefill.who.valid() || prefill.twin == 0 || find(by_prefill_, prefill.who.index))
        continue;
      const auto* decode = view.find(role::decode, prefill.twin - 1);
      if (!decode)
        continue;
      auto computes = prefill.queued > 0 || (decode->requests == 0 && !prefill.spare);
      devices_.push_back({prefill.who.index, decode->who.index, computes, computes});
      put(by_prefill_, prefill.who.index, devices_.size() - 1);
      put(by_decode_, decode->who.index, devices_.size() - 1);
    }
  }

  void finish_changes(const load_view& view) {
    for (auto& at : devices_) {
      if (at.computes == at.shall_compute)
        continue;
      const auto* prefill = view.find(role::prefill, at.prefill);
      const auto* decode = view.find(role::decode, at.decode);
      if (at.computes ? !prefill || prefill->queued == 0 : !decode || decode->requests == 0)
        at.computes = at.shall_compute;
    }
  }

  void choose(const route_query& query, const load_view& view, const shares& limits) {
    auto kept = burden{};    // at those that stay decode instances
    auto leaving = burden{}; // at those that are to become prefill instances: it comes back as new requests do
    for (const auto& load : view.all(role::decode))
      if (load.who.valid()) {
        const auto* at = find(by_decode_, load.who.index);
        (!at || !at->shall_compute ? kept : leaving).add(load);
      }
    auto promised_ns = static_cast<double>(query.slo_tbt_ns);
    auto all = kept;
    all.rows += leaving.rows;
    all.tokens += leaving.tokens;
    if (kept.exceeds(query.step, limits.grow * promised_ns, full_share, 0))
      add_decode(query, view);
    else if (!all.exceeds(query.step, limits.shrink * promised_ns, roomy_share, 1))
      remove_decode(view);
  }

  /// One at a time: a device that still decodes takes that back; else the prefill instance that is free first.
  void add_decode(const route_query& query, const load_view& view) {
    auto* best = static_cast<device*>(nullptr);
    auto best_key = std::pair<uint64_t, uint64_t>{};
    auto computing = size_t{0};
    for (auto& at : devices_) {
      if (at.computes && !at.shall_compute)
        return; // One is on its way.
      computing += at.computes;
      const auto* prefill = view.find(role::prefill, at.prefill);
      if (!at.shall_compute || !prefill)
        continue;
      auto key = std::pair<uint64_t, uint64_t>{at.computes, prefill->queue_ns(query.now_ns)};
      if (!best || key < best_key) {
        best = &at;
        best_key = key;
      }
    }
    if (!best || (best->computes && computing < 2))
      return;
    best->shall_compute = false;
    if (const auto* prefill = view.find(role::prefill, best->prefill); prefill && prefill->queued == 0)
      best->computes = false;
  }

  /// The decode instance that is done first: fewest reserved tokens.
  void remove_decode(const load_view& view) {
    auto* best = static_cast<device*>(nullptr);
    auto best_tokens = uint64_t{0};
    for (auto& at : devices_) {
      const auto* decode = view.find(role::decode, at.decode);
      if (at.computes != at.shall_compute && at.computes)
        return; // One is on its way to decoding.
      if (at.computes || at.shall_compute || !decode)
        continue;
      if (!best || decode->tokens < best_tokens) {
        best = &at;
        best_tokens = decode->tokens;
      }
    }
    if (!best)
      return;
    best->shall_compute = true;
    best->computes = view.find(role::decode, best->decode)->requests == 0;
  }

  std::vector<device> devices_;
  std::vector<uint32_t> by_prefill_; ///< 1 + place in `devices_`, by index of the instance
  std::vector<uint32_t> by_decode_;
  uint64_t next_ns_ = 0;
};

} // namespace perigee
