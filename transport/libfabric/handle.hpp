// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/status.hpp"

#include <rdma/fabric.h>

#include <memory>
#include <string_view>

namespace perigee::transport {

/// Closes what libfabric opened. Order matters: an endpoint before what it is bound to, everything before its domain.
struct fid_closer {
  template <class Fid>
  void operator()(Fid* object) const noexcept {
    fi_close(&object->fid);
  }
};

template <class Fid>
using fid_handle = std::unique_ptr<Fid, fid_closer>;

struct info_freer {
  void operator()(fi_info* info) const noexcept {
    fi_freeinfo(info);
  }
};

using info_handle = std::unique_ptr<fi_info, info_freer>;

/// Throws `failure` (`io_error`) with what was being done, if `result` is an error of libfabric.
void require_fi(long result, std::string_view doing);

/// What an error number of libfabric (any sign) means for a transfer: the connection is gone, or the provider refused.
errc fi_errc(int error) noexcept;

} // namespace perigee::transport
