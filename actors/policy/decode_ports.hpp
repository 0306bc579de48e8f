// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

namespace perigee {

/// Where a request decodes: fewest reserved tokens, ties to the lowest index, among those whose network port has
/// taken in by the first token what was handed over before; else the one that has soonest. Without that a device that
/// has just become a decode instance would get everything at once, and each of these requests would wait for the KV
/// of those before it. Pure; remembers what was placed.
class decode_ports {
public:
  /// `may_decode(index)` says which are to be thought of. Nothing if none has room.
  template <class MayDecode>
  std::optional<uint32_t> choose(const route_query& query, const load_view& view, uint64_t ttft_ns,
                                 MayDecode may_decode) const {
    auto best = std::optional<uint32_t>{};
    auto best_key = std::tuple<uint64_t, uint64_t>{};
    for (auto index : query.decodes) {
      if (!may_decode(index))
        continue;
      const auto* load = view.find(role::decode, index);
      auto until_ns = busy_until(index);
      auto late_ns = until_ns > query.now_ns + ttft_ns ? until_ns : 0;
      auto key = std::tuple{late_ns, load ? load->tokens : UINT64_MAX};
      if (!best || key < best_key) {
        best = index;
        best_key = key;
      }
    }
    return best;
  }

  /// A decision placed the request there: its KV goes there from now on.
  void placed(const route_query& query, uint32_t index) {
    if (index >= until_ns_.size())
      until_ns_.resize(index + 1);
    auto takes_ns = query.transfer_ns_block * query.prompt_tokens / std::max<uint64_t>(1, query.block_tokens);
    until_ns_[index] = std::max(until_ns_[index], query.now_ns) + takes_ns;
    load_ = load(query.now_ns) + static_cast<double>(takes_ns) / memory_ns;
    loaded_ns_ = query.now_ns;
  }

  /// How many ports what was placed keeps busy: mean over the last seconds.
  double load(uint64_t now_ns) const {
    return load_ * memory_ns / (memory_ns + static_cast<double>(now_ns - loaded_ns_));
  }

private:
  static constexpr auto memory_ns = 5e9;

  uint64_t busy_until(uint32_t index) const {
    return index < until_ns_.size() ? until_ns_[index] : 0;
  }

  std::vector<uint64_t> until_ns_; ///< by index
  double load_ = 0;                ///< at `loaded_ns_`
  uint64_t loaded_ns_ = 0;
};

} // namespace perigee
