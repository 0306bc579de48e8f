// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"

#include <algorithm>
#include <vector>

namespace perigee {

/// How late a policy hears that a prompt is computed, as a median against when that was predicted. What was placed at
/// an instance that had nothing else to do is watched; the news came somewhere between the last look at the loads and
/// this one. Only what that proves is learned: that it was later than assumed, or earlier. Pure.
class news_age {
public:
  /// Before a decision.
  void look(uint64_t now_ns, const load_view& view) {
    for (auto& at : watched_)
      if (const auto* load = at.queued > 0 ? view.find(role::prefill, at.index) : nullptr;
          load && load->queued < at.queued) {
        if (looked_ns_ > at.ends_ns + age_ns_ + step_ns)
          age_ns_ += step_ns;
        else if (now_ns < at.ends_ns + age_ns_)
          age_ns_ -= std::min(age_ns_, step_ns);
        at.queued = 0;
      }
    looked_ns_ = now_ns;
  }

  /// A decision placed a prompt at that instance, which is predicted to take `takes_ns`.
  void placed(uint64_t now_ns, const instance_load& load, uint64_t takes_ns) {
    auto index = load.who.index;
    auto at = std::find_if(watched_.begin(), watched_.end(), [&](const auto& item) { return item.index == index; });
    if (at == watched_.end())
      at = watched_.insert(at, {index});
    if (load.queued == 0)
      *at = {index, 1, now_ns + takes_ns};
    else if (at->queued > 0)
      ++at->queued;
  }

  uint64_t ns() const {
    return age_ns_;
  }

private:
  /// As many steps up as down make a median. They are long, because there is little to learn from where instances
  /// have always something to do.
  static constexpr auto step_ns = uint64_t{40'000'000};

  struct watched {
    uint32_t index = 0;
    uint32_t queued = 0; ///< of what was placed there since; 0: nothing is watched
    uint64_t ends_ns = 0;
  };

  std::vector<watched> watched_;
  uint64_t looked_ns_ = 0;
  uint64_t age_ns_ = 0;
};

} // namespace perigee
