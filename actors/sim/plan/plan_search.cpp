// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/plan/plan_search.hpp"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

namespace perigee::sim {

namespace {

class search {
public:
  search(const plan_options& options, const plan_measure& measure) : options_(options), measure_(measure) {
    assert(options.step > 1 && options.slowest > 0);
    for (auto speed = options.slowest; speed <= options.fastest || speeds_.empty(); speed *= options.step) {
      if (speed <= 1)
        hint_ = static_cast<int>(speeds_.size());
      speeds_.push_back(speed);
    }
  }

  plan_point plan(uint32_t nodes) {
    assert(nodes >= 2);
    auto share = static_cast<double>(best_.prefills) / (best_.prefills + best_.decodes);
    best_.prefills = std::clamp(static_cast<uint32_t>(share * nodes + 0.5), 1u, nodes - 1);
    best_.decodes = nodes - best_.prefills;
    best_.cache = 0;
    level_ = capacity(best_);
    for (auto improved = true; improved;) {
      improved = improve_split();
      improved |= improve(&plan_choice::policy, options_.policies);
      improved |= improve(&plan_choice::admission, options_.admissions);
      improved |= improve_cache();
    }
    auto point = plan_point{nodes, best_, 0, 0};
    if (level_ >= 0) {
      point.capacity = speeds_[static_cast<size_t>(level_)];
      point.effective = share_of(best_, level_);
      hint_ = level_;
    }
    return point;
  }

private:
  static constexpr int none = -1; // the level of what does not keep the target at any speed

  int last() const {
    return static_cast<int>(speeds_.size()) - 1;
  }

  double share_of(const plan_choice& choice, int level) {
    auto [at, is_new] = known_.try_emplace({choice, level}, 0);
    if (is_new)
      at->second = measure_(choice, speeds_[static_cast<size_t>(level)]);
    return at->second;
  }

  bool keeps(const plan_choice& choice, int level) {
    return share_of(choice, level) >= options_.target;
  }

  /// The highest level at which the target is kept, between one that keeps it and one that does not.
  int between(const plan_choice& choice, int good, int bad) {
    while (bad - good > 1) {
      auto middle = good + (bad - good) / 2;
      (keeps(choice, middle) ? good : bad) = middle;
    }
    return good;
  }

  int above(const plan_choice& choice, int good) {
    for (auto stride = 1;; stride *= 2) {
      auto next = std::min(good + stride, last());
      if (next == good)
        return good;
      if (!keeps(choice, next))
        return between(choice, good, next);
      good = next;
    }
  }

  int capacity(const plan_choice& choice) {
    if (keeps(choice, hint_))
      return above(choice, hint_);
    auto bad = hint_;
    for (auto stride = 1; bad > 0; stride *= 2) {
      auto next = std::max(bad - stride, 0);
      if (keeps(choice, next))
        return between(choice, next, bad);
      bad = next;
    }
    return none;
  }

  /// Takes the choice if it keeps the target at a higher speed than the best so far.
  bool take_if_better(const plan_choice& choice) {
    if (level_ == last() || !keeps(choice, level_ + 1))
      return false;
    level_ = above(choice, level_ + 1);
    best_ = choice;
    return true;
  }

  bool improve_split() {
    auto improved = false;
    for (auto toward_prefill : {true, false})
      for (auto next = best_;; next = best_) {
        auto& from = toward_prefill ? next.decodes : next.prefills;
        if (from == 1)
          break;
        --from;
        ++(toward_prefill ? next.prefills : next.decodes);
        if (!take_if_better(next))
          break;
        improved = true;
      }
    return improved;
  }

  bool improve(uint32_t plan_choice::* what, uint32_t alternatives) {
    auto improved = false;
    for (auto i = uint32_t{0}; i < alternatives; ++i) {
      auto next = best_;
      next.*what = i;
      if (next != best_)
        improved |= take_if_better(next);
    }
    return improved;
  }

  /// Dearer caches only: a cheaper one that was beaten stays beaten.
  bool improve_cache() {
    auto improved = false;
    for (auto i = best_.cache + 1; i < options_.caches; ++i) {
      auto next = best_;
      next.cache = i;
      improved |= take_if_better(next);
    }
    return improved;
  }

  const plan_options& options_;
  const plan_measure& measure_;
  std::vector<double> speeds_;
  std::map<std::pair<plan_choice, int>, double> known_;
  plan_choice best_;
  int level_ = none; // of `best_`
  int hint_ = 0;     // where to look first
};

} // namespace

std::vector<plan_point> search_plan(const plan_options& options, const plan_measure& measure) {
  auto at_work = search{options, measure};
  auto points = std::vector<plan_point>{};
  for (auto nodes : options.nodes)
    points.push_back(at_work.plan(nodes));
  return points;
}

} // namespace perigee::sim
