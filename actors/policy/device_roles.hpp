// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"
#include "actors/policy/prefill_pressure.hpp"

#include <algorithm>
#include <vector>

namespace perigee {

/// Which of the two instances on a device takes new work, where a device has one of each kind. A device that is to
/// change its role takes nothing new, and changes when what it has is done.
///
/// Decode instances are as few as keep a step below a share of the promised time between tokens, and their memory
/// from filling; the other devices compute prompts. How large a share depends on the pressure of prompts: where none
/// waits, steps keep a wide margin, because a device gains nothing as a prefill instance; where many wait, steps may
/// come closer to what is promised. Where none presses no decode instance turns to prompts, however little it has to
/// do. After a decode instance has become a prefill instance, a step must stay below that share by `gap`: what a
/// change was made for must not be undone by it.
///
/// They are also as many as keep their network ports from being busy with hand-overs: a request that waits for its KV
/// has a long first gap.
///
/// Pure; remembers the roles. Instances without a twin stay what they are.
class device_roles {
public:
  /// Of the promised time, what a step may take.
  struct shares {
    double idle = 0.43;    ///< where no prompt waits
    double pressed = 0.58; ///< where prompts wait
  };

  /// Before a decision; looks at the instances at most every `look_ns`.
  /// `ports` are network ports that hand-overs to decode instances keep busy.
  void update(const route_query& query, const load_view& view, const shares& limits, double ports = 0) {
    if (query.now_ns < next_ns_)
      return;
    next_ns_ = query.now_ns + look_ns;
    find_devices(view);
    if (devices_.empty())
      return;
    finish_changes(view);
    watch(query, view);
    choose(query, view, limits, ports);
  }

  bool may_prefill(uint32_t index) const {
    const auto* at = find(by_prefill_, index);
    return !at || (at->computes && at->shall_compute);
  }
  bool may_decode(uint32_t index) const {
    const auto* at = find(by_decode_, index);
    return !at || (!at->computes && !at->shall_compute);
  }
  /// Prefill instances on devices that have, or shall have, the other role.
  std::vector<uint32_t> not_for_prefill() const {
    auto found = std::vector<uint32_t>{};
    for (const auto& at : devices_)
      if (!may_prefill(at.prefill))
        found.push_back(at.prefill);
    return found;
  }

private:
  static constexpr auto look_ns = uint64_t{20'000'000};
  static constexpr auto full_share = 0.85; // of decode memory
  static constexpr auto roomy_share = 0.7;
  static constexpr auto busy_port = 0.5; // share of the time, of the port of a decode instance
  static constexpr auto idle_port = 0.3;
  static constexpr auto gap = 0.08;         // of the promised time
  static constexpr auto coming_share = 0.3; // of what is still to be computed

  struct device {
    uint32_t prefill = 0;
    uint32_t decode = 0;
    bool computes = false;      ///< it is a prefill instance now
    bool shall_compute = false; ///< differs while it changes
  };

  /// What instances have in all, and how many of them count.
  struct burden {
    double rows = 0;
    double tokens = 0;
    double capacity = 0;
    double instances = 0;

    void add(const instance_load& load, bool counts) {
      rows += load.requests;
      tokens += static_cast<double>(load.tokens);
      capacity += counts ? static_cast<double>(load.tokens_capacity) : 0;
      instances += counts;
    }
    /// The share of it that steps will have, where `coming` of it is still to be computed: while it is, others end.
    double share_without(const burden& coming) const {
      return tokens > 0 ? 1 - (1 - coming_share) * std::min(1.0, coming.tokens / tokens) : 1;
    }
    bool exceeds(const step_cost& step, double counted, double step_ns_max, double memory_share, double fewer) const {
      auto left = instances - fewer;
      return left <= 0 || static_cast<double>(step.ns(counted * rows / left, counted * tokens / left)) > step_ns_max
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

  void watch(const route_query& query, const load_view& view) {
    auto requests = uint64_t{query.held};
    auto computing = uint64_t{0};
    for (const auto& at : devices_)
      if (const auto* load = view.find(role::prefill, at.prefill); load && at.computes) {
        requests += load->queue_ns(query.now_ns) > 0; // What should be computed is, though the news of it be late.
        ++computing;
      }
    pressure_.update(query.now_ns, requests, computing);
  }

  void choose(const route_query& query, const load_view& view, const shares& limits, double ports) {
    auto kept = burden{}; // at those that stay decode instances
    auto all = burden{};  // with those that are to become prefill instances: it comes back as new requests do
    for (const auto& load : view.all(role::decode))
      if (load.who.valid()) {
        const auto* at = find(by_decode_, load.who.index);
        auto stays = !at || !at->shall_compute;
        all.add(load, stays);
        if (stays)
          kept.add(load, true);
      }
    auto counted = all.share_without(to_come(view));
    auto step_ns_max =
      (limits.idle + (limits.pressed - limits.idle) * pressure_.value()) * static_cast<double>(query.slo_tbt_ns);
    if (kept.exceeds(query.step, counted, step_ns_max, full_share, 0) || ports > busy_port * kept.instances)
      add_decode(query, view);
    else if (auto less_ns = step_ns_max - gap * static_cast<double>(query.slo_tbt_ns);
             pressure_.value() > 0 && !all.exceeds(query.step, counted, less_ns, roomy_share, 1)
             && ports <= idle_port * (all.instances - 1))
      remove_decode(view);
  }

  /// Requests that have a place in decode memory, and are still to be computed.
  static burden to_come(const load_view& view) {
    auto result = burden{};
    for (const auto& load : view.all(role::prefill))
      if (load.who.valid())
        result.add(load, true);
    return result;
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
  prefill_pressure pressure_;
};

} // namespace perigee
