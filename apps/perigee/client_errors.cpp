// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/client_errors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace perigee::cli {

namespace {

constexpr auto retry_elsewhere_s = uint32_t{5};

/// "The cluster is busy: no slots free." `detail` may be empty.
std::string sentence(std::string_view what, std::string_view detail) {
  return detail.empty() ? fmt::format("{}.", what) : fmt::format("{}: {}.", what, detail);
}

/// Whole seconds, rounded up, so that nobody comes back too early.
uint32_t retry_after_s(const client_error& error) {
  constexpr auto second = uint64_t{1'000'000'000};
  constexpr auto longest = uint64_t{3600};
  auto whole = error.retry_after_ns / second + (error.retry_after_ns % second > 0);
  return static_cast<uint32_t>(std::clamp<uint64_t>(whole, 1, longest));
}

} // namespace

gateway::api_error to_api_error(const client_error& error) {
  switch (error.code) {
  case ec::overloaded:
    return gateway::overloaded(sentence("The cluster takes no more requests right now", error.detail),
                               retry_after_s(error));
  case ec::out_of_blocks:
    return gateway::overloaded(sentence("The cluster has no KV memory left for this request", error.detail),
                               retry_after_s(error));
  case ec::too_long: {
    auto result = gateway::invalid_field("prompt", sentence("The prompt is too long for this cluster", error.detail));
    result.code = "context_length_exceeded";
    return result;
  }
  case ec::deadline:
    return gateway::timed_out(sentence("The request did not finish within its deadline", error.detail));
  case ec::no_instance:
    return gateway::unavailable(sentence("No instance can serve this request", error.detail), retry_after_s(error));
  case ec::draining:
    return gateway::unavailable(sentence("This server is shutting down", error.detail), retry_elsewhere_s);
  case ec::instance_failed:
  case ec::peer_lost:
    return gateway::unavailable(sentence("The instances that worked on this request failed", error.detail),
                                retry_after_s(error));
  case ec::slow_client:
  case ec::cancelled:
  case ec::stale:
  case ec::none: break;
  }
  return gateway::internal_error(
    sentence(fmt::format("The request ended as \"{}\"", to_string(error.code)), error.detail));
}

} // namespace perigee::cli
