// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/broken_policies.hpp"

#include "actors/policy/late_binding.hpp"
#include "actors/policy/plugin.hpp"
#include "actors/policy/plugin_loader.hpp"

#include <cassert>

namespace perigee::sim {

namespace {

/// Least predicted queue, as it was when this policy last looked: what it placed since is not in it.
struct route_late_view {
  static constexpr const char* name = "late-view";
  static constexpr const char* summary = "least queue seconds, looked up once a second";

  route_decision decide(const route_query& query, const load_view& view) {
    if (query.now_ns >= next_ns_) {
      seen_ = view;
      next_ns_ = query.now_ns + 1'000'000'000;
    }
    return place_at_least(query, seen_, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = static_cast<double>(offer.queue_ns);
      return offer;
    });
  }

private:
  load_view seen_;
  uint64_t next_ns_ = 0;
};

/// Always where most of the prompt is, whatever waits there.
struct route_to_the_holder {
  static constexpr const char* name = "to-the-holder";
  static constexpr const char* summary = "longest own prefix";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = -static_cast<double>(at.own_blocks);
      return offer;
    });
  }
};

/// Late binding, shortest prompt first, and nothing else.
struct route_shortest {
  static constexpr const char* name = "shortest";
  static constexpr const char* summary = "late binding, shortest prompt first";

  route_decision decide(const route_query& query, const load_view& view) const {
    auto decision = route_decision{};
    if (!is_behind_held(query, query.prefill_best_ns))
      decision = place_at_free(query, view, 0);
    if (decision.what == verdict::place)
      return decision;
    decision.chosen = {};
    decision.sort_key = query.prefill_best_ns;
    return decision;
  }
};

} // namespace

void add_broken_policies() {
  static constexpr auto plugin = policy_plugin_of<route_late_view, route_to_the_holder, route_shortest>();
  auto wrong = add_policy_plugin(plugin, "scenes");
  assert(!wrong);
}

} // namespace perigee::sim
