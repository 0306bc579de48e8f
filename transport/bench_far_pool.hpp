// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/bench_socket.hpp"
#include "transport/fabric.hpp"

#include <sys/types.h>

#include <functional>
#include <span>
#include <string>

namespace perigee::transport {

/// A pool in another process of this host that peers may read and write, for benchmarks. It ends with this object.
class far_pool {
public:
  struct place {
    std::string provider; ///< of libfabric
    std::string host;     ///< address of this machine to use
  };
  /// What the other process does once it is connected; the control connection throws when the first one is gone.
  using work = std::function<void(stream_socket& control, std::span<std::byte> pool)>;

  /// Forks: the process must have no other thread. Throws `failure` where the system refuses.
  far_pool(const place& where, uint64_t bytes, const work& then);
  far_pool(const far_pool&) = delete;
  far_pool& operator=(const far_pool&) = delete;
  ~far_pool();

  /// Makes `peer` of `own` the other process; how it reaches the pool. Once. Throws `failure` (`io_error`) where the
  /// other process could not open the provider.
  remote_region connect(fabric& own, peer_id peer);

  /// To the other process.
  stream_socket& control() noexcept {
    return control_;
  }

private:
  uint64_t bytes_;
  stream_socket control_;
  pid_t process_ = -1;
};

} // namespace perigee::transport
