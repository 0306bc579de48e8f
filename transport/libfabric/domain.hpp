// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"
#include "transport/libfabric/handle.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"

#include <rdma/fi_domain.h>

namespace perigee::transport {

/// Memory the provider knows: how we name it in our own posts, and how peers name it in theirs.
struct registration {
  std::span<std::byte> memory;
  fid_handle<fid_mr> handle;
  void* descriptor = nullptr; ///< goes with every local use
  remote_region remote;
};

/// The provider's domain, chosen once. Used by one thread.
class domain {
public:
  /// Throws `failure` where the provider is missing, or lacks writes with an immediate of 32 bits.
  explicit domain(const libfabric_options& options);

  registration register_memory(std::span<std::byte> memory);

  fi_info* info() const noexcept {
    return info_.get();
  }
  fid_fabric* fabric() const noexcept {
    return fabric_.get();
  }
  fid_domain* get() const noexcept {
    return domain_.get();
  }

  /// Whether a write is placed after all earlier ones to the same peer, so that an immediate may follow its bytes at
  /// once.
  bool ordered_writes() const noexcept;

  /// Provider and parameters in one line for people.
  std::string describe() const;

private:
  const libfabric_options options_;
  info_handle info_;
  fid_handle<fid_fabric> fabric_;
  fid_handle<fid_domain> domain_;
  uint64_t key_seed_;
  uint64_t keys_made_ = 0;
};

} // namespace perigee::transport
