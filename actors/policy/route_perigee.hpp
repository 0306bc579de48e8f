// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/decode_ports.hpp"
#include "actors/policy/device_roles.hpp"
#include "actors/policy/late_binding.hpp"
#include "actors/policy/news_age.hpp"
#include "actors/policy/pipelining.hpp"

namespace perigee {

/// Ours: late binding, shortest work first, a refusal that waits until it is certain, and devices that change their
/// roles.
///
/// - A request waits at the Conductor until an instance is free, and is then placed where transfer + prefill are
///   least. An instance counts as free `lookahead-s` before that is predicted, and earlier where the news that a
///   prompt is computed comes late (by `stale` times as much): a device must not idle because nobody knows. Of those
///   that are equally good the one goes first of which it is certain.
/// - A prefix that a busy instance is computing is waited for there, unless that takes longer than computing it
///   elsewhere and the device time that this saves, together.
/// - Order: the least prefill time with the best prefix. A request has to begin by `latest` = arrival + SLO - prefill
///   time, which is taken for longer by `caution` times the usual error of such predictions. With less than
///   `urgent-s` until `latest` it goes first, earliest `latest` first, unless the backlog (prefill time of all that
///   is held or placed, for each instance) is above `backlog-s` and its own prefill above `heavy-s`: it would make many
///   others late for itself, and keeps its place in the order.
/// - Prompts that instances may share (`shared_tokens_min`) are computed sooner once they begin: their `latest` counts
///   `shared_share` of the time that one instance takes.
/// - After `latest` it is refused: it has cost nothing yet. What was accepted before is never refused, and goes
///   first.
/// - Where a device has an instance of each kind, `device_roles` says which of them takes work: as few decode as keep
///   their steps below `idle-share` of what is promised, or up to `pressed-share` where prompts wait.
/// - The layers of long prompts are shared by instances that are idle (`groups`), but not by those whose devices turn.
/// - Of decode instances the one with the fewest reserved tokens is taken whose port is free in time
///   (`decode_ports`).
struct route_perigee {
  static constexpr const char* name = "perigee";
  static constexpr const char* summary = "late binding, least work first; devices turn to prefill or decode as needed";
  static constexpr auto groups = pipelining{};

  double urgent_s = 5;
  double lookahead_s = 0.07;
  double stale = 1.2;
  double backlog_s = 8;
  double heavy_s = 8;
  double caution = 0.2;
  double idle_share = 0.43;
  double pressed_share = 0.75;
  double shared_share = 0.5;
  device_roles roles;

  static constexpr std::array parameters{
    policy_parameter<route_perigee>{"urgent-s", &route_perigee::urgent_s, 0, 3600,
                                    "seconds of slack below which a request goes first or is refused"},
    policy_parameter<route_perigee>{"lookahead-s", &route_perigee::lookahead_s, 0, 3600,
                                    "seconds before an instance is free at which it takes the next, so that fetching "
                                    "overlaps computing"},
    policy_parameter<route_perigee>{"stale", &route_perigee::stale, 0, 100,
                                    "multiples of the age of news by which an instance takes the next still earlier"},
    policy_parameter<route_perigee>{"backlog-s", &route_perigee::backlog_s, 0, 1e6,
                                    "seconds of work for each instance above which heavy requests are not rushed"},
    policy_parameter<route_perigee>{"heavy-s", &route_perigee::heavy_s, 0, 1e6,
                                    "seconds of prefill above which a request is heavy"},
    policy_parameter<route_perigee>{"caution", &route_perigee::caution, 0, 100,
                                    "multiples of the usual error that a predicted prefill time may be too short"},
    policy_parameter<route_perigee>{"idle-share", &route_perigee::idle_share, 0, 1e6,
                                    "share of the promised token time that a step may take where no prompt waits"},
    policy_parameter<route_perigee>{"pressed-share", &route_perigee::pressed_share, 0, 1e6,
                                    "the same where prompts wait"},
    policy_parameter<route_perigee>{
      "shared-share", &route_perigee::shared_share, 0, 1,
      "share of its prefill time on one instance that a prompt takes which may be shared"},
  };

  route_decision decide(const route_query& query, const load_view& view) {
    roles.update(query, view, {idle_share, pressed_share}, ports_.load(query.now_ns));
    age_.look(query.now_ns, view);
    auto ideal_ns = least_prefill_ns(query);
    auto longest_ns = longest_prefill_ns(query, ideal_ns);
    auto latest_ns = query.arrived_ns + query.slo_ttft_ns - std::min(query.slo_ttft_ns, longest_ns);
    auto is_late = query.now_ns > latest_ns;
    if (query.refusable && is_late)
      return refuse();
    auto is_near = query.now_ns + ns(urgent_s) >= latest_ns;
    auto is_urgent = is_near && !(query.refusable && is_too_heavy(query, view));
    auto sort_key = is_urgent ? latest_ns : normal | ideal_ns;
    auto decision = route_decision{};
    auto is_next = !is_behind_held(query, sort_key);
    if (is_next)
      decision = place(query, view);
    if (decision.what == verdict::place) {
      const auto& chosen = decision.chosen;
      ports_.placed(query, decision.decode);
      age_.placed(query.now_ns, *view.find(role::prefill, chosen.prefill), chosen.transfer_ns + chosen.prefill_ns);
      return decision;
    }
    decision.chosen = {};
    decision.sort_key = sort_key;
    decision.ask_again_ns = is_late ? 0 : is_near ? latest_ns + 1 : latest_ns - ns(urgent_s);
    auto free_ns = is_next ? first_free_ns(query, view, lookahead_ns()) : 0;
    if (free_ns > 0 && (decision.ask_again_ns == 0 || free_ns < decision.ask_again_ns))
      decision.ask_again_ns = free_ns;
    return decision;
  }

private:
  static constexpr auto normal = uint64_t{1} << 62;

  static uint64_t ns(double seconds) {
    return static_cast<uint64_t>(seconds * 1e9);
  }

  uint64_t lookahead_ns() const {
    return ns(lookahead_s) + static_cast<uint64_t>(stale * static_cast<double>(age_.ns()));
  }

  /// Whether a prefix longer than any that is there is being computed at that instance, which is still used.
  bool computes_more(const route_query& query, const candidate& at) const {
    return at.own_blocks > query.best_blocks && roles.may_prefill(at.index);
  }

  /// Prefill time with the best prefix, what is being computed included.
  uint64_t least_prefill_ns(const route_query& query) const {
    auto least_ns = query.prefill_best_ns;
    for (const auto& at : query.candidates)
      if (computes_more(query, at))
        least_ns = std::min(least_ns, at.prefill_own_ns);
    return least_ns;
  }

  /// From its first chunk to its first token, as instances that share it may need.
  uint64_t longest_prefill_ns(const route_query& query, uint64_t ideal_ns) const {
    auto cached = uint64_t{query.best_blocks} * query.block_tokens;
    auto uncached = query.prompt_tokens - std::min<uint64_t>(query.prompt_tokens, cached);
    auto is_shared = query.shared_tokens_min > 0 && uncached >= query.shared_tokens_min;
    return static_cast<uint64_t>((is_shared ? shared_share : 1) * (1 + caution * query.prefill_error)
                                 * static_cast<double>(ideal_ns));
  }

  route_decision place(const route_query& query, const load_view& view) const {
    auto best = best_offers{};
    auto lookahead = lookahead_ns();
    for (const auto& at : query.candidates) {
      const auto* load = view.find(role::prefill, at.index);
      if (!load || !roles.may_prefill(at.index))
        continue;
      if (is_free(*load, query.now_ns, lookahead)) {
        auto offer = offer_cheapest(query, at, *load);
        offer.score += static_cast<double>(doubt_ns(*load, query.now_ns, lookahead));
        best.add(offer);
      } else if (computes_more(query, at)) {
        auto offer = offer_own(query, at, *load);
        // The device time that it saves is worth as much as waiting.
        offer.score -= static_cast<double>(query.prefill_best_ns - std::min(query.prefill_best_ns, offer.prefill_ns));
        if (offer.score <= static_cast<double>(query.prefill_best_ns))
          best.add(offer);
      }
    }
    auto ttft_ns = best.empty() ? 0 : best.cheapest().ttft_ns;
    auto decode = ports_.choose(query, view, ttft_ns, [this](uint32_t index) { return roles.may_decode(index); });
    auto decision = best.place_with(decode);
    decision.spared = roles.not_for_prefill();
    return decision;
  }

  /// What is said to be free, and has not reported it, may take longer than predicted: the less likely, the longer it
  /// is overdue.
  static uint64_t doubt_ns(const instance_load& load, uint64_t now_ns, uint64_t lookahead_ns) {
    auto overdue_ns = now_ns - std::min(now_ns, load.free_at_ns);
    return load.queued == 0 ? 0 : lookahead_ns - std::min(lookahead_ns, overdue_ns);
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

  news_age age_;
  decode_ports ports_;
};

} // namespace perigee
