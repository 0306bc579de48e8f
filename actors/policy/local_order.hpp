// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace perigee {

/// Which job a prefill instance computes next. A job that has begun is finished first.
enum class local_order : uint8_t {
  fifo,           ///< first come, first served
  shortest_first, ///< fewest tokens to compute; but whoever waited longer than `local_wait_ns_max` goes before, oldest first
};

inline constexpr auto local_wait_ns_max = uint64_t{10'000'000'000};

constexpr const char* to_string(local_order order) noexcept {
  return order == local_order::fifo ? "fifo" : "shortest-first";
}

constexpr std::optional<local_order> find_local_order(std::string_view name) noexcept {
  for (auto order : {local_order::fifo, local_order::shortest_first})
    if (name == to_string(order))
      return order;
  return std::nullopt;
}

struct local_job {
  uint64_t number = 0;      ///< in order of arrival
  uint64_t arrived_ns = 0;
  uint64_t tokens_left = 0; ///< to compute
};

/// Whether `a` goes before `b`.
constexpr bool goes_before(local_order order, const local_job& a, const local_job& b, uint64_t now_ns) noexcept {
  auto is_overdue = [&](const local_job& job) { return job.arrived_ns + local_wait_ns_max <= now_ns; };
  if (order == local_order::shortest_first) {
    if (is_overdue(a) != is_overdue(b))
      return is_overdue(a);
    if (!is_overdue(a) && a.tokens_left != b.tokens_left)
      return a.tokens_left < b.tokens_left;
  }
  return a.number < b.number;
}

} // namespace perigee
