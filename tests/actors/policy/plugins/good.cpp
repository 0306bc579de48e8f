// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/least_offer.hpp"
#include "actors/policy/plugin.hpp"

using namespace perigee;

namespace {

/// The highest instance that is known, or the lowest with a parameter.
struct route_highest {
  static constexpr const char* name = "highest";
  static constexpr const char* summary = "the highest instance";

  route_decision decide(const route_query& query, const load_view& view) const {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = sign * static_cast<double>(at.index);
      return offer;
    });
  }

  double sign = -1;
  static constexpr std::array parameters = {
    policy_parameter<route_highest>{"sign", &route_highest::sign, -1, 1, "1: the lowest"},
  };
};

/// Any instance.
struct route_drawn {
  static constexpr const char* name = "drawn";
  static constexpr const char* summary = "any instance";

  route_decision decide(const route_query& query, const load_view& view) {
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = static_cast<double>(random.below(1000));
      return offer;
    });
  }

  policy_random random;
};

} // namespace

PERIGEE_POLICY_PLUGIN(route_highest, route_drawn)
