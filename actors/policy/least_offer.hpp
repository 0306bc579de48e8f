// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/route_decode.hpp"

#include <array>
#include <optional>

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

/// Predicted time until what an instance lacks of the longest prefix is there.
inline uint64_t fetch_ns(const route_query& query, uint32_t own_blocks) {
  return query.source_backlog_ns + (query.best_blocks - own_blocks) * query.transfer_ns_block;
}

/// Computing at `at` from the longest prefix of the pool, of which what it lacks comes from another node first.
inline route_offer offer_fetched(const route_query& query, const candidate& at, const instance_load& load) {
  auto offer = offer_own(query, at, load);
  if (query.best_blocks <= at.own_blocks)
    return offer;
  offer.fetch_blocks = query.best_blocks - at.own_blocks;
  offer.transfer_ns = fetch_ns(query, at.own_blocks);
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
  /// Whether it is among the best so far.
  bool add(const route_offer& offer) {
    if (is_full() && !is_cheaper(offer, dearest()))
      return false;
    insert(offer);
    return true;
  }

  bool is_full() const noexcept {
    return count_ == offers_kept;
  }

  bool empty() const noexcept {
    return count_ == 0;
  }
  /// Not of none.
  const route_offer& cheapest() const noexcept {
    return at(0);
  }
  const route_offer& dearest() const noexcept {
    return at(count_ - 1);
  }

  /// Places at the cheapest offer and at the decode instance with the fewest reserved tokens. Holds if there is neither.
  route_decision place(const route_query& query, const load_view& view) const {
    return place_with(least_reserved_decode(query, view));
  }

  /// The same with a decode instance that was chosen already.
  route_decision place_with(std::optional<uint32_t> decode) const {
    auto result = route_decision{};
    if (empty())
      return result;
    result.best.reserve(count_);
    for (auto rank = size_t{0}; rank < count_; ++rank)
      result.best.push_back(at(rank));
    result.chosen = cheapest();
    if (!decode)
      return result;
    result.what = verdict::place;
    result.decode = *decode;
    return result;
  }

private:
  static bool is_cheaper(const route_offer& a, const route_offer& b) noexcept {
    return a.score != b.score ? a.score < b.score : a.prefill < b.prefill;
  }
  const route_offer& at(size_t rank) const noexcept {
    return offers_[order_[rank]];
  }

  void insert(const route_offer& offer) {
    auto place = count_ < offers_kept ? static_cast<uint8_t>(count_) : order_[offers_kept - 1];
    auto rank = count_ < offers_kept ? count_++ : offers_kept - 1;
    for (; rank > 0 && is_cheaper(offer, at(rank - 1)); --rank)
      order_[rank] = order_[rank - 1];
    order_[rank] = place;
    offers_[place] = offer;
  }

  std::array<route_offer, offers_kept> offers_;
  std::array<uint8_t, offers_kept> order_{}; // places in offers_, cheapest first
  size_t count_ = 0;
};

/// Which eight candidates are soonest, ties to those that come first: nearly all of a large cluster are passed over
/// before an offer of theirs is made.
class soonest {
public:
  /// `place` grows from call to call.
  void add(uint64_t takes_ns, uint32_t place) {
    if (takes_ns >= limit_ns_)
      return;
    auto rank = count_ < offers_kept ? count_++ : offers_kept - 1;
    for (; rank > 0 && items_[rank - 1].takes_ns > takes_ns; --rank)
      items_[rank] = items_[rank - 1];
    items_[rank] = {takes_ns, place};
    if (count_ == offers_kept)
      limit_ns_ = items_.back().takes_ns;
  }

  /// Calls `visit(place)` for each, soonest first.
  template <class Visit>
  void each(Visit visit) const {
    for (auto rank = size_t{0}; rank < count_; ++rank)
      visit(items_[rank].place);
  }

private:
  struct item {
    uint64_t takes_ns = 0;
    uint32_t place = 0;
  };

  std::array<item, offers_kept> items_;
  size_t count_ = 0;
  uint64_t limit_ns_ = UINT64_MAX;
};

/// Places a request at the candidate with the smallest `offer(candidate, load).score`; ties go to the lowest index. A
/// candidate of which nothing is known is passed over. Holds the request if no instance can take it.
template <class Offer>
route_decision place_at_least(const route_query& query, const load_view& view, Offer offer) {
  auto best = best_offers{};
  for (const auto& at : query.candidates)
    if (auto* load = view.find(role::prefill, at.index))
      best.add(offer(at, *load));
  return best.place(query, view);
}

} // namespace perigee
