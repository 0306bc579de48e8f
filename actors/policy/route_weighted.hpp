// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/least_offer.hpp"
#include "actors/policy/policy_parameter.hpp"

#include <map>

namespace perigee {

/// llm-d's weighted scorers, each 0 to 1, the greatest sum wins (so the score here is its negative):
///   prefix:  own blocks / prompt blocks
///   queue:   (max - queued_i) / (max - min) over the candidates, 1 if all are equal
///   kv-use:  1 - KV tokens held / capacity
///   no-hit:  for a request that nobody has anything of: how long ago instance i took its last such request, the longest 1,
///            so that cold prompts spread; 0.5 for all where there is a hit
struct route_weighted {
  static constexpr const char* name = "weighted";
  static constexpr const char* summary = "llm-d's scorers: prefix, queue, KV use and least recently used for cold prompts";

  double prefix = 3;
  double queue = 2;
  double kv_use = 2;
  double no_hit = 2;
  std::map<uint32_t, uint64_t> cold; ///< by instance: number of the last cold request it took
  uint64_t colds = 0;

  static constexpr std::array parameters{
    policy_parameter<route_weighted>{"prefix", &route_weighted::prefix, 0, 1000, "weight of the cached share"},
    policy_parameter<route_weighted>{"queue", &route_weighted::queue, 0, 1000, "weight of a short queue"},
    policy_parameter<route_weighted>{"kv-use", &route_weighted::kv_use, 0, 1000, "weight of free KV memory"},
    policy_parameter<route_weighted>{"no-hit", &route_weighted::no_hit, 0, 1000, "weight of spreading cold prompts"},
  };

  route_decision decide(const route_query& query, const load_view& view) {
    auto least = UINT32_MAX;
    auto most = uint32_t{0};
    auto is_cold = true;
    for (const auto& at : query.candidates)
      if (auto* load = view.find(role::prefill, at.index)) {
        least = std::min(least, load->queued);
        most = std::max(most, load->queued);
        is_cold &= at.own_blocks == 0;
      }
    auto prompt_blocks = std::max(1.0, static_cast<double>(query.prompt_tokens) / query.block_tokens);
    auto decision = place_at_least(query, view, [&](const candidate& at, const instance_load& load) {
      auto offer = offer_own(query, at, load);
      auto cached = at.own_blocks / prompt_blocks;
      auto idle = most == least ? 1.0 : static_cast<double>(most - load.queued) / (most - least);
      auto room = load.tokens_capacity > 0
                    ? 1 - static_cast<double>(load.tokens) / static_cast<double>(load.tokens_capacity)
                    : 0.0;
      offer.score = -(prefix * cached + queue * idle + kv_use * room + no_hit * (is_cold ? age(at.index) : 0.5));
      return offer;
    });
    if (is_cold && decision.what == verdict::place)
      cold[decision.chosen.prefill] = ++colds;
    return decision;
  }

private:
  /// 1 for an instance that never took a cold request, falling to 0 for the one that took the last.
  double age(uint32_t index) const {
    auto at = cold.find(index);
    if (at == cold.end() || colds == 0)
      return 1;
    auto later = 0.0;
    for (const auto& [other, number] : cold)
      later += number > at->second;
    return later / static_cast<double>(cold.size());
  }
};

} // namespace perigee
