// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/policy_random.hpp"
#include "actors/policy/route_kvcache_centric.hpp"

namespace perigee {

/// The scores of `kvcache-centric` over three candidates only: two random ones, and the one that has most of the prefix. What
/// a scheduler with thousands of instances or with old reports may prefer (Mitzenmacher, 2001).
struct route_power_of_two {
  static constexpr const char* name = "power-of-two";
  static constexpr const char* summary = "kvcache-centric among two random instances and the prefix holder";

  route_kvcache_centric scores;
  policy_random random;

  route_decision decide(const route_query& query, const load_view& view) {
    auto known = std::vector<const candidate*>{};
    const auto* holder = static_cast<const candidate*>(nullptr);
    for (const auto& at : query.candidates)
      if (view.find(role::prefill, at.index)) {
        known.push_back(&at);
        if (at.own_blocks > (holder ? holder->own_blocks : 0))
          holder = &at;
      }
    auto chosen = std::array{holder, draw(known, nullptr), static_cast<const candidate*>(nullptr)};
    chosen[2] = draw(known, chosen[1]);
    auto best = best_offers{};
    for (auto i = size_t{0}; i < chosen.size(); ++i)
      if (chosen[i] && std::find(chosen.begin(), chosen.begin() + i, chosen[i]) == chosen.begin() + i)
        best.add(scores.offer(query, *chosen[i], *view.find(role::prefill, chosen[i]->index)));
    return best.place(query, view);
  }

private:
  /// Any but `except`; null if there is none.
  const candidate* draw(const std::vector<const candidate*>& known, const candidate* except) {
    auto others = known.size() - (except ? 1 : 0);
    if (others == 0)
      return nullptr;
    auto at = random.below(others);
    if (except && at >= static_cast<size_t>(std::find(known.begin(), known.end(), except) - known.begin()))
      ++at;
    return known[at];
  }
};

} // namespace perigee
