// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace perigee {

/// Why something below the actors failed. `transport` and `kernels` throw `failure` while they are being set up; afterwards
/// every completion carries a `status`.
enum class errc : uint8_t {
  none = 0,
  invalid_argument, ///< the caller's mistake: a bad option, a malformed file, a range outside its region
  not_found,
  exhausted,   ///< a bounded queue or pool is full; try again after something completed
  timed_out,   ///< the deadline passed first
  cancelled,   ///< somebody asked for it
  peer_lost,   ///< the other side is gone, fenced, or was replaced
  io_error,    ///< the provider, the device or the file system said no
  corrupt,     ///< a checksum or format check failed
  unsupported, ///< well-formed, but not something this build or model can do
};

constexpr std::string_view to_string(errc code) noexcept {
  switch (code) {
  case errc::none: return "none";
  case errc::invalid_argument: return "invalid_argument";
  case errc::not_found: return "not_found";
  case errc::exhausted: return "exhausted";
  case errc::timed_out: return "timed_out";
  case errc::cancelled: return "cancelled";
  case errc::peer_lost: return "peer_lost";
  case errc::io_error: return "io_error";
  case errc::corrupt: return "corrupt";
  case errc::unsupported: return "unsupported";
  }
  return "unknown";
}

/// Outcome of one operation: a code, and for people what it was about (the thing, the value found, the value allowed).
struct status {
  errc code = errc::none;
  std::string context;

  bool ok() const noexcept {
    return code == errc::none;
  }

  friend bool operator==(const status&, const status&) = default;
};

/// Thrown only while something is being set up.
class failure : public std::runtime_error {
public:
  failure(errc code, std::string context) : std::runtime_error(std::move(context)), code_(code) {}

  errc code() const noexcept {
    return code_;
  }

private:
  errc code_;
};

} // namespace perigee
