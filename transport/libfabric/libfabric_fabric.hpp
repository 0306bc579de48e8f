// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"

#include <memory>
#include <string>

namespace perigee::transport {

struct libfabric_options {
  std::string provider =
    "tcp;ofi_rxm";                ///< as `fi_info -l` lists it; `shm` checks no keys and never notices a dead peer
  std::string host = "127.0.0.1"; ///< address of the interface to use; empty: the provider's first
  uint64_t piece_bytes_max = uint64_t{1} << 20;
  uint64_t window_bytes = uint64_t{4} << 20; ///< in flight to one peer
  uint32_t window_pieces = 128;              ///< in flight to one peer
  uint32_t transfers_max = 4096;             ///< posted and not completed; more are answered `exhausted`
  bool trust_order = true;                   ///< rely on the order of writes where the provider promises one
  uint32_t connect_ms_max = 5000;            ///< how long a peer may take no transfer at all before it counts as lost
};

/// A fabric over one libfabric provider that offers reliable datagram endpoints with remote memory access.
///
/// One thread owns the domain, one endpoint and completion queue per peer, and makes the provider progress; both sides
/// need theirs running. After the first error of a peer its endpoint is closed: everything outstanding with it
/// completes (what the provider complained about with its error, the rest as `peer_lost`), and later posts are refused
/// until `fence` and a new `open_peer`. A wrong key is such an error. Transfers to `self_peer` are copied, those of at
/// most 256 KiB inside `post`, larger ones on a second thread; so `events` is called from several threads, perhaps at
/// once. It must outlive the fabric. The destructor completes what is outstanding as `peer_lost`; nothing is reported
/// after it. `deregister` throws `failure` while a transfer uses the region; a write of a peer that is under way needs
/// a fence first, as the provider may not stop it.
///
/// Throws `failure` where the provider is missing or cannot do what is needed.
std::unique_ptr<fabric> make_libfabric(const libfabric_options& options, fabric_events& events);

} // namespace perigee::transport
