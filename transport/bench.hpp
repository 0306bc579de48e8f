// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/status.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace perigee::transport {

struct bench_options {
  std::string provider = "tcp;ofi_rxm"; ///< of libfabric
  std::string host = "127.0.0.1";       ///< of this machine
  std::vector<uint64_t> sizes = {uint64_t{64} << 10, uint64_t{1} << 20,
                                 uint64_t{4} << 20}; ///< of one transfer, in bytes
  uint64_t pool_bytes = uint64_t{128} << 20; ///< memory on either side; the transfers of a run walk through it once
  uint32_t runs = 5;
};

/// One transfer size. Rates are medians of all runs in GB/s (1e9 bytes); each run measures the limit and both
/// directions, one right after the other, so that they see the same machine.
struct bench_row {
  uint64_t bytes = 0;
  double limit = 0;
  double write = 0;
  double read = 0;

  double write_ratio() const noexcept {
    return write / limit;
  }
  double read_ratio() const noexcept {
    return read / limit;
  }
};

struct bench_result {
  std::string path;  ///< what was measured, for people
  std::string limit; ///< what `bench_row::limit` is, for people
  std::vector<bench_row> rows;
};

/// Between two processes of this host through libfabric; the limit is one TCP connection over the same host address
/// with blocking sockets. Forks: call it while the process has no other thread. Throws `failure`.
bench_result bench_provider(const bench_options& options);

/// Within this process; the limit is memcpy between the same pools. Throws `failure`.
bench_result bench_local(const bench_options& options);

} // namespace perigee::transport
