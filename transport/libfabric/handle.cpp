// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/handle.hpp"

#include <fmt/format.h>
#include <rdma/fi_errno.h>

#include <cstdlib>

namespace perigee::transport {

void require_fi(long result, std::string_view doing) {
  if (result < 0)
    throw failure{errc::io_error, fmt::format("{}: {}", doing, fi_strerror(static_cast<int>(-result)))};
}

errc fi_errc(int error) noexcept {
  switch (std::abs(error)) {
  case FI_ECANCELED:
  case FI_ENOTCONN:
  case FI_ECONNRESET:
  case FI_ECONNABORTED:
  case FI_ECONNREFUSED:
  case FI_ESHUTDOWN:
  case FI_EHOSTUNREACH:
  case FI_ENETDOWN:
  case FI_ENETUNREACH:
  case FI_ETIMEDOUT:
  case EPIPE: return errc::peer_lost;
  default: return errc::io_error;
  }
}

} // namespace perigee::transport
