// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/late_binding.hpp"

#include <map>
#include <string>

namespace perigee {

/// Fairness between tenants (virtual token counters, OSDI'24) decides the order, late binding the time, and the least
/// transfer + prefill the place. A tenant's counter grows with what it is served: `input` a prompt token, `output` an expected
/// output token. A request's key is its tenant's counter when it came; a tenant that was away starts at the least key that is
/// being served, so that it neither pays for having been served nor saves up for having been away.
struct route_fair {
  static constexpr const char* name = "fair";
  static constexpr const char* summary = "virtual token counters per tenant decide the order; late binding";

  double input = 1;
  double output = 2;

  static constexpr std::array parameters{
    policy_parameter<route_fair>{"input", &route_fair::input, 0, 1000, "cost of a prompt token"},
    policy_parameter<route_fair>{"output", &route_fair::output, 0, 1000, "cost of an expected output token"},
  };

  route_decision decide(const route_query& query, const load_view& view) {
    auto sort_key = key(query);
    auto decision = route_decision{};
    if (!is_behind_held(query, sort_key))
      decision = place_at_free(query, view, 0);
    if (decision.what == verdict::place) {
      served_ = std::max(served_, sort_key);
      forget();
      return decision;
    }
    decision.chosen = {};
    decision.sort_key = sort_key;
    return decision;
  }

private:
  /// The counter at which this request begins; the next of its tenant begins where it ends.
  uint64_t key(const route_query& query) {
    if (!query.fresh)
      return query.sort_key;
    auto& counter = counters_[query.tenant];
    auto begins = std::max(counter, served_);
    counter = begins + static_cast<uint64_t>(input * query.prompt_tokens + output * query.expected_output) + 1;
    return begins;
  }

  /// Counters that others have passed are those of tenants that were away.
  void forget() {
    std::erase_if(counters_, [&](const auto& item) { return item.second <= served_; });
  }

  std::map<std::string, uint64_t> counters_; // by tenant
  uint64_t served_ = 0;
};

} // namespace perigee
