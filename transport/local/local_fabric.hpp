// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"

#include <memory>

namespace perigee::transport {

/// Where the fabrics of one process find each other. Any thread may hold it; the last holder frees it.
class local_network;
std::shared_ptr<local_network> make_local_network();

struct local_options {
  uint32_t transfers_max = 4096; ///< posted and not completed; more are answered `exhausted`
  uint64_t inline_bytes_max = uint64_t{256}
                              << 10; ///< larger copies within one fabric leave the thread that calls `post`
};

/// A fabric that copies: within itself (`self_peer`), and between the fabrics of one `network`.
///
/// Transfers to `self_peer` of at most `inline_bytes_max` run, and report, inside `post`; everything else runs on the
/// fabric's own thread. So `events` is called from two threads, perhaps at once; it must outlive the fabric. The
/// destructor completes what is outstanding as `peer_lost`; nothing is reported after it. `deregister` throws `failure`
/// while a transfer uses the region.
std::unique_ptr<fabric> make_local_fabric(std::shared_ptr<local_network> network, fabric_events& events,
                                          const local_options& options = {});

} // namespace perigee::transport
