// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

namespace perigee {

/// AIBrix' prefix-cache routing: with the requests queued at each instance,
///   if max - min > difference: the fewest requests
///   else: the longest prefix among those with requests <= mean + deviations * sigma; ties to the fewest requests
struct route_prefix_capped {
  static constexpr const char* name = "prefix-capped";
  static constexpr const char* summary = "AIBrix': longest prefix among instances that are not overloaded";

  double difference = 16;
  double deviations = 2;

  static constexpr std::array parameters{
    policy_parameter<route_prefix_capped>{"difference", &route_prefix_capped::difference, 0, 1e6,
                                          "requests between the most and the least loaded that are tolerated"},
    policy_parameter<route_prefix_capped>{"deviations", &route_prefix_capped::deviations, 0, 100,
                                          "standard deviations above the mean from which an instance is out"},
  };

  route_decision decide(const route_query& query, const load_view& view) const {
    auto count = 0.0, sum = 0.0, squares = 0.0;
    auto least = UINT32_MAX;
    auto most = uint32_t{0};
    for (const auto& at : query.candidates)
      if (auto* load = view.find(role::prefill, at.index)) {
        least = std::min(least, load->queued);
        most = std::max(most, load->queued);
        count += 1;
        sum += load->queued;
        squares += static_cast<double>(load->queued) * load->queued;
      }
    auto mean = count > 0 ? sum / count : 0;
    auto variance = count > 0 ? squares / count - mean * mean : 0;
    // Compared as squares: x - mean <= k * sigma.
    auto overloaded = [&](double requests) {
      auto above = requests - mean;
      return above > 0 && above * above > deviations * deviations * variance;
    };
    auto by_load = most > least && most - least > difference;
    return place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      offer.score = load.queued;
      if (!by_load)
        offer.score += overloaded(load.queued) ? 1e12 : -1e6 * at.own_blocks;
      return offer;
    });
  }
};

} // namespace perigee
