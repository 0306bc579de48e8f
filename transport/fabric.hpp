// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/status.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::transport {

/// A piece of local memory known to the fabric.
using region_id = uint32_t;

/// One peer as seen from here; never reused, so that a restarted peer is a new one. `self_peer` is this process.
using peer_id = uint32_t;
inline constexpr peer_id self_peer = 0;

/// What a peer must know to reach a region of ours: travels in control messages. Provider keys are bookkeeping, not security.
struct remote_region {
  uint64_t key = 0;
  uint64_t base = 0; ///< address of the first byte in the owner's terms (0 where the provider counts from the start)
  uint64_t bytes = 0;
  friend bool operator==(const remote_region&, const remote_region&) = default;
};

enum class direction : uint8_t { write, read };

/// One contiguous part of a transfer. Offsets in bytes from the start of each region.
struct piece {
  uint64_t local_offset = 0;
  uint64_t remote_offset = 0;
  uint64_t bytes = 0;
};

/// A one-sided gather list between one local region and one region of one peer.
struct transfer {
  uint64_t id = 0; ///< chosen by the caller, unique among transfers in flight
  direction op = direction::write;
  peer_id peer = self_peer;
  region_id local = 0;
  remote_region remote;
  std::vector<piece> pieces;
  /// Writes only: after every byte has been placed at the target, the target's fabric reports this number as arrived.
  /// Never before the bytes, even where the provider does not order writes.
  std::optional<uint32_t> immediate;
};

/// Called on the fabric's own thread (or, for a copy within the process, from inside `post`); must not block and must not
/// call back into the fabric.
class fabric_events {
public:
  virtual ~fabric_events() = default;

  /// Exactly once per posted transfer. On success the local memory may be reused; for a read the bytes are here. A success
  /// of a write proves nothing about delivery: only `arrived` at the target does. On failure the transfer touches neither
  /// local nor remote memory any more, except that a write to a peer that was not fenced may still land there.
  virtual void completed(uint64_t id, status result, uint64_t bytes) = 0;

  /// A write with `immediate` from `from` has been placed completely in our memory. At most once per transfer.
  virtual void arrived(peer_id from, uint32_t immediate) = 0;

  /// No write of that peer can land any more, and all transfers with it have completed.
  virtual void fenced(peer_id peer) = 0;
};

/// Moves bytes between registered memory of processes. All methods may be called from any one thread at a time (the owner's);
/// none blocks longer than a memory registration takes.
class fabric {
public:
  virtual ~fabric() = default;

  /// Provider and its parameters in one line for people.
  virtual std::string describe() const = 0;

  /// The memory stays the caller's and must outlive its registration. Throws `failure`.
  virtual region_id register_memory(std::span<std::byte> memory) = 0;
  virtual void deregister(region_id region) = 0;
  virtual remote_region remote(region_id region) const = 0;

  /// Makes an endpoint of our own for one peer, so that a dead peer harms no other. `name` is for messages to people.
  virtual peer_id open_peer(std::string_view name) = 0;
  /// What that peer must pass to its own `connect`; opaque, printable.
  virtual std::string local_address(peer_id peer) const = 0;
  /// The other side's `local_address` for us. May come after the first `post`, which then waits for it.
  virtual void connect(peer_id peer, std::string_view remote_address) = 0;

  /// Validates ranges against both regions; every outcome, also a refusal, comes through `completed`.
  virtual void post(transfer work) = 0;

  /// Asks to end a transfer early; it completes as `cancelled` or, if that was faster, as it would have.
  virtual void cancel(uint64_t id) = 0;

  /// Closes the endpoint of `peer`: outstanding transfers complete as `peer_lost`, then `fenced` is reported. The id is dead
  /// afterwards; a peer that came back gets a new one through `open_peer`.
  virtual void fence(peer_id peer) = 0;

  /// Bytes moved since the start, by a provider and by direct copy inside the process.
  struct counters {
    uint64_t provider_bytes = 0;
    uint64_t copied_bytes = 0;
    uint64_t failed_transfers = 0;
  };
  virtual counters totals() const = 0;
};

} // namespace perigee::transport
