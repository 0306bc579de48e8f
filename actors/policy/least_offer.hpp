// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/route_decode.hpp"

#include <algorithm>
#include <tuple>

namespace perigee {

/// Places a request at the candidate with the smallest `cost(candidate) -> std::pair<uint64_t, route_offer>`; ties go to the
/// lowest index. Holds it if no instance can take it. Keeps the cheapest eight offers in the decision.
template <class Cost>
route_decision place_at_least(const route_query& query, const load_view& view, Cost cost) {
  auto result = route_decision{};
  auto decode = least_reserved_decode(query, view);
  if (!decode || query.candidates.empty())
    return result;
  auto offers = std::vector<std::pair<uint64_t, route_offer>>{};
  offers.reserve(query.candidates.size());
  for (const auto& at : query.candidates)
    offers.push_back(cost(at));
  auto kept = std::min<size_t>(offers.size(), 8);
  std::partial_sort(offers.begin(), offers.begin() + static_cast<ptrdiff_t>(kept), offers.end(),
                    [](const auto& a, const auto& b) {
                      return std::tie(a.first, a.second.prefill) < std::tie(b.first, b.second.prefill);
                    });
  for (auto i = size_t{0}; i < kept; ++i)
    result.best.push_back(offers[i].second);
  result.what = verdict::place;
  result.chosen = result.best.front();
  result.decode = *decode;
  return result;
}

} // namespace perigee
