// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/route_decode.hpp"

#include <algorithm>
#include <tuple>

namespace perigee {

inline constexpr auto offers_kept = size_t{8};

/// Computing at `at` from the prefix it has itself.
inline route_offer offer_own(const route_query& query, const candidate& at, const instance_load& load) {
  auto offer = route_offer{};
  offer.prefill = at.index;
  offer.own_blocks = at.own_blocks;
  offer.queue_ns = load.queue_ns(query.now_ns);
  offer.prefill_ns = at.prefill_own_ns;
  offer.ttft_ns = offer.queue_ns + offer.prefill_ns;
  offer.score = static_cast<double>(offer.ttft_ns);
  return offer;
}

/// Computing at `at` from the longest prefix of the pool, of which what it lacks comes from another node first.
inline route_offer offer_fetched(const route_query& query, const candidate& at, const instance_load& load) {
  auto offer = offer_own(query, at, load);
  if (query.best_blocks <= at.own_blocks)
    return offer;
  offer.fetch_blocks = query.best_blocks - at.own_blocks;
  offer.transfer_ns = query.source_backlog_ns + offer.fetch_blocks * query.transfer_ns_block;
  offer.prefill_ns = query.prefill_best_ns;
  offer.ttft_ns = offer.transfer_ns + offer.queue_ns + offer.prefill_ns;
  offer.score = static_cast<double>(offer.ttft_ns);
  return offer;
}

/// The cheaper of both by first token, ties to the own prefix.
inline route_offer offer_cheapest(const route_query& query, const candidate& at, const instance_load& load) {
  auto own = offer_own(query, at, load);
  auto fetched = offer_fetched(query, at, load);
  return fetched.ttft_ns < own.ttft_ns ? fetched : own;
}

/// The best eight offers, cheapest first: by score, ties to the lowest index.
class best_offers {
public:
  void add(const route_offer& offer) {
    auto cheaper = [](const route_offer& a, const route_offer& b) {
      return std::tie(a.score, a.prefill) < std::tie(b.score, b.prefill);
    };
    if (offers_.size() == offers_kept && !cheaper(offer, offers_.back()))
      return;
    if (offers_.size() == offers_kept)
      offers_.pop_back();
    else if (offers_.empty())
      offers_.reserve(offers_kept);
    offers_.insert(std::upper_bound(offers_.begin(), offers_.end(), offer, cheaper), offer);
  }

  const std::vector<route_offer>& all() const noexcept {
    return offers_;
  }

  /// Places at the cheapest offer and at the decode instance with the fewest reserved tokens. Holds if there is neither.
  route_decision place(const route_query& query, const load_view& view) && {
    return std::move(*this).place_with(least_reserved_decode(query, view));
  }

  /// The same with a decode instance that was chosen already.
  route_decision place_with(std::optional<uint32_t> decode) && {
    auto result = route_decision{};
    result.best = std::move(offers_);
    if (result.best.empty())
      return result;
    result.chosen = result.best.front();
    if (!decode)
      return result;
    result.what = verdict::place;
    result.decode = *decode;
    return result;
  }

private:
  std::vector<route_offer> offers_;
};

/// Places a request at the candidate with the smallest `offer(candidate, load).score`; ties go to the lowest index. A
/// candidate of which nothing is known is passed over. Holds the request if no instance can take it.
template <class Offer>
route_decision place_at_least(const route_query& query, const load_view& view, Offer offer) {
  auto best = best_offers{};
  for (const auto& at : query.candidates)
    if (auto* load = view.find(role::prefill, at.index))
      best.add(offer(at, *load));
  return std::move(best).place(query, view);
}

} // namespace perigee
