// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/route_decode.hpp"

#include <boost/container/small_vector.hpp>

#include <algorithm>
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

/// Which eight of many take least time, ties to those that come first. Of groups of them the least is known, so that each
/// of the eight is found among the groups, and then in its group: a decision does not sort what it passes over.
class soonest {
public:
  /// What never starts is passed over.
  static constexpr auto never = UINT64_MAX;

  explicit soonest(size_t count)
    : group_(std::max(group_min, (count + groups_max - 1) / groups_max)),
      takes_ns_((count + group_ - 1) / group_ * group_, never) {}

  /// How long it takes, by place: to be written before `each`.
  uint64_t& takes_ns(size_t place) noexcept {
    return takes_ns_[place];
  }

  /// Calls `visit(place)` for each, soonest first.
  template <class Visit>
  void each(Visit visit) {
    auto groups = takes_ns_.size() / group_;
    auto least = std::array<uint64_t, groups_max>{};
    for (auto i = size_t{0}; i < groups; ++i)
      least[i] = takes_ns_[first_least(&takes_ns_[i * group_], group_) + i * group_];
    for (auto left = groups == 0 ? size_t{0} : offers_kept; left > 0; --left) {
      auto at = first_least(least.data(), groups);
      if (least[at] == never)
        return;
      auto* group = &takes_ns_[at * group_];
      auto place = first_least(group, group_);
      group[place] = never;
      least[at] = group[first_least(group, group_)];
      visit(static_cast<uint32_t>(at * group_ + place));
    }
  }

private:
  static constexpr size_t group_min = 8;
  static constexpr size_t groups_max = 64;

  static size_t first_least(const uint64_t* all, size_t count) noexcept {
    auto found = size_t{0};
    auto least = all[0];
    for (auto i = size_t{1}; i < count; ++i) {
      found = all[i] < least ? i : found;
      least = std::min(least, all[i]);
    }
    return found;
  }

  size_t group_;
  boost::container::small_vector<uint64_t, 128> takes_ns_; ///< whole groups
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
