// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/policy/load_view.hpp"

#include <optional>

namespace perigee {

/// The decode side of a placement: fewest reserved KV tokens, ties to the lowest index. An instance of which nothing is known
/// comes last. Nothing if none has room. `may_decode(index)` says which are to be thought of.
template <class MayDecode>
std::optional<uint32_t> least_reserved_decode(const route_query& query, const load_view& view, MayDecode may_decode) {
  auto best = std::optional<uint32_t>{};
  auto tokens_min = UINT64_MAX;
  const auto& reserved = view.decode_tokens();
  for (auto index : query.decodes) {
    if (!may_decode(index))
      continue;
    auto tokens = index < reserved.size() ? reserved[index] : UINT64_MAX;
    if (!best || tokens < tokens_min) {
      best = index;
      tokens_min = tokens;
    }
  }
  return best;
}

inline std::optional<uint32_t> least_reserved_decode(const route_query& query, const load_view& view) {
  return least_reserved_decode(query, view, [](uint32_t) { return true; });
}

} // namespace perigee
