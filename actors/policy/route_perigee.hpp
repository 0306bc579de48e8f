// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/device_roles.hpp"
#include "actors/policy/late_binding.hpp"

namespace perigee {

/// Ours: late binding, shortest work first, a refusal that waits until it is certain, and devices that change their roles.
///
/// A request waits at the Conductor until an instance is free (or will be in `lookahead-s`), and is then placed where transfer +
/// prefill are least. Order: the least prefill time with the best prefix. It has to begin by `latest` = arrival + SLO - prefill
/// time, which is taken for longer by `caution` times the usual error of such predictions.
/// - With less than `urgent-s` until `latest` it goes first, earliest `latest` first, unless the backlog (prefill time of all
///   that is held or placed, for each instance) is above `backlog-s` and its own prefill above `heavy-s`: then it is refused,
///   because it would make many others late for itself.
/// - After `latest` it is refused: it has cost nothing yet. What was accepted before is never refused; it goes last.
/// - Where a device has an instance of each kind, `device_roles` says which of them takes work: as few decode as keep their
///   steps below `grow-share` of what is promised.
struct route_perigee {
  static constexpr const char* name = "perigee";
  static constexpr const char* summary = "late binding, least work first; devices turn to prefill or decode as needed";

  double urgent_s = 2;
  double lookahead_s = 0.05;
  double backlog_s = 7;
  double heavy_s = 8;
  double caution = 1.5;
  double grow_share = 0.65;
  double shrink_share = 0.55;
  device_roles roles;

  static constexpr std::array parameters{
    policy_parameter<route_perigee>{"urgent-s", &route_perigee::urgent_s, 0, 3600,
                                    "seconds of slack below which a request goes first or is refused"},
    policy_parameter<route_perigee>{"lookahead-s", &route_perigee::lookahead_s, 0, 3600,
                                    "seconds before an instance is free at which it takes the next, so that fetching "
                                    "overlaps computing"},
    policy_parameter<route_perigee>{"backlog-s", &route_perigee::backlog_s, 0, 1e6,
                                    "seconds of work for each instance above which heavy requests are not rushed"},
    policy_parameter<route_perigee>{"heavy-s", &route_perigee::heavy_s, 0, 1e6,
                                    "seconds of prefill above which a request is heavy"},
    policy_parameter<route_perigee>{"caution", &route_perigee::caution, 0, 100,
                                    "multiples of the usual error that a predicted prefill time may be too short"},
    policy_parameter<route_perigee>{"grow-share", &route_perigee::grow_share, 0, 1e6,
                                    "share of the promised token time above which a device turns to decoding"},
    policy_parameter<route_perigee>{"shrink-share", &route_perigee::shrink_share, 0, 1e6,
                                    "share of it that a step may take when a device turns to prompts"},
  };

  route_decision decide(const route_query& query, const load_view& view) {
    roles.update(query, view, {grow_share, shrink_share});
    auto ideal_ns = query.prefill_best_ns;
    auto longest_ns = ideal_ns + static_cast<uint64_t>(caution * query.prefill_error * static_cast<double>(ideal_ns));
    auto latest_ns = query.arrived_ns + query.slo_ttft_ns - std::min(query.slo_ttft_ns, longest_ns);
    auto is_late = query.now_ns > latest_ns;
    auto is_urgent = !is_late && query.now_ns + ns(urgent_s) >= latest_ns;
    if (query.refusable && (is_late || (is_urgent && is_too_heavy(query, view))))
      return refuse();
    auto sort_key = is_late ? late | ideal_ns : is_urgent ? latest_ns : normal | ideal_ns;
    auto decision = route_decision{};
    auto is_next = !is_behind_held(query, sort_key);
    if (is_next)
      decision = place(query, view);
    if (decision.what == verdict::place)
      return decision;
    decision.chosen = {};
    decision.sort_key = sort_key;
    decision.ask_again_ns = is_late ? 0 : is_urgent ? latest_ns + 1 : latest_ns - ns(urgent_s);
    auto free_ns = is_next && lookahead_s > 0 ? first_free_ns(query, view, ns(lookahead_s)) : 0;
    if (free_ns > 0 && (decision.ask_again_ns == 0 || free_ns < decision.ask_again_ns))
      decision.ask_again_ns = free_ns;
    return decision;
  }

private:
  static constexpr auto normal = uint64_t{1} << 62;
  static constexpr auto late = uint64_t{2} << 62;

  static uint64_t ns(double seconds) {
    return static_cast<uint64_t>(seconds * 1e9);
  }

  route_decision place(const route_query& query, const load_view& view) const {
    return offers_of_free(query, view, ns(lookahead_s), [this](uint32_t index) { return roles.may_prefill(index); })
      .place_with(least_reserved_decode(query, view, [this](uint32_t index) { return roles.may_decode(index); }));
  }

  static route_decision refuse() {
    auto decision = route_decision{};
    decision.what = verdict::reject;
    decision.reason = ec::overloaded;
    return decision;
  }

  bool is_too_heavy(const route_query& query, const load_view& view) const {
    if (query.prefill_best_ns <= ns(heavy_s))
      return false;
    auto work_ns = query.held_ns + query.prefill_best_ns;
    auto instances = uint64_t{0};
    for (const auto& at : query.candidates)
      if (auto* load = view.find(role::prefill, at.index); load && roles.may_prefill(at.index)) {
        work_ns += load->queue_ns(query.now_ns);
        ++instances;
      }
    return instances > 0 && work_ns / instances > ns(backlog_s);
  }
};

} // namespace perigee
