// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/libfabric/domain.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

#include <optional>

namespace perigee::transport {

/// One piece in flight. Its address travels through the provider as the context, so it lives until it completed or its
/// endpoint is closed.
struct operation {
  fi_context2 context{}; ///< first: scratch space of the provider
  void* owner = nullptr;
  uint64_t bytes = 0;
};

/// What an endpoint's completion queue said.
struct completion {
  operation* done = nullptr;         ///< one of ours ended; null for what is not about one of ours
  std::optional<uint32_t> immediate; ///< a peer's write with this number is in our memory
  status result;                     ///< of `done`, or of the endpoint as a whole
};

/// One endpoint for one peer with its own address table and completion queue, so that its end harms no other.
/// Used by the thread that owns the domain.
class endpoint {
public:
  explicit endpoint(domain& owner);

  /// Printable: provider and the provider's own name of this endpoint.
  std::string address() const;

  /// Throws `failure` if `address` was not made by `address()` of the same provider.
  void connect(std::string_view address);

  bool connected() const noexcept {
    return peer_ != FI_ADDR_UNSPEC;
  }

  /// Hands one piece to the provider: 0, -FI_EAGAIN (again later, after polling), or another error.
  long write(operation& op, const std::byte* from, void* descriptor, uint64_t address, uint64_t key,
             std::optional<uint32_t> immediate);
  long read(operation& op, std::byte* to, void* descriptor, uint64_t address, uint64_t key);

  /// Makes the provider progress and appends what came of it. Returns how much was appended; 0 means nothing for now.
  size_t poll(std::vector<completion>& out);

  /// Readable when there may be something to poll; -1 where the provider cannot say.
  int wait_fd() const noexcept {
    return wait_fd_;
  }
  fid* wait_object() const noexcept {
    return &queue_->fid;
  }

private:
  completion failed() const;

  domain& domain_;
  fid_handle<fid_av> addresses_;
  fid_handle<fid_cq> queue_;
  fid_handle<fid_ep> endpoint_; // closed first
  fi_addr_t peer_ = FI_ADDR_UNSPEC;
  int wait_fd_ = -1;
};

} // namespace perigee::transport
