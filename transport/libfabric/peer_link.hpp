// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/ledger.hpp"
#include "transport/libfabric/endpoint.hpp"
#include "transport/plan.hpp"

#include <chrono>
#include <deque>
#include <map>

namespace perigee::transport {

/// A transfer on its way through a provider.
struct provider_job {
  transfer work;
  std::byte* local = nullptr; ///< start of the local region
  void* descriptor = nullptr; ///< of the local region
  piece_cursor cursor;
  std::optional<piece> next; ///< taken from `cursor`, not yet taken by the provider
  uint32_t in_flight = 0;    ///< pieces
  uint64_t done = 0;         ///< bytes
  bool posted = false;       ///< everything was handed to the provider, or nothing more will be
  status result;
};

/// All that happens with one peer: its endpoint, what waits for it, what is in flight. Used by the thread that owns the
/// domain; reports to `events` from there.
class peer_link {
public:
  using clock = std::chrono::steady_clock;

  peer_link(domain& owner, const libfabric_options& options, fabric_events& events, ledger& books, peer_id id,
            std::string name);

  peer_link(const peer_link&) = delete;
  peer_link& operator=(const peer_link&) = delete;

  std::string address() const {
    return endpoint_->address();
  }
  void connect(std::string_view address);
  void post(std::unique_ptr<provider_job> job);
  /// Stops posting pieces of it; it completes when those in flight have. False if the transfer is not here.
  bool cancel(uint64_t id);

  /// Polls and posts. Returns whether anything came of it.
  bool progress(clock::time_point now);

  /// Reports what the provider still knows, closes the endpoint and completes everything outstanding as `peer_lost`.
  void close(const std::string& why);

  /// Transfers that progress or try to.
  bool active() const noexcept {
    return endpoint_ && (pieces_in_flight_ > 0 || (endpoint_->connected() && !ready_.empty()));
  }
  /// Since when the provider has taken nothing for this peer though it should; not set while it takes.
  std::optional<clock::time_point> stalled_since() const noexcept {
    return stalled_since_;
  }
  /// Null once closed.
  const endpoint* open_endpoint() const noexcept {
    return endpoint_.get();
  }
  const std::string& name() const noexcept {
    return name_;
  }

private:
  bool post_ready(clock::time_point now);
  /// Hands the next piece of `job` to the provider; 0, -FI_EAGAIN or another error.
  long post_piece(provider_job& job, bool with_immediate);
  bool poll_once();
  void handle(const completion& entry);
  void finish(provider_job& job);

  domain& domain_;
  const libfabric_options& options_;
  fabric_events& events_;
  ledger& books_;
  const peer_id id_;
  const std::string name_;
  std::deque<operation> operations_; // all ever needed at once; outlives the endpoint
  std::vector<operation*> free_;
  std::unique_ptr<endpoint> endpoint_;
  std::map<uint64_t, std::unique_ptr<provider_job>> jobs_;
  std::deque<provider_job*> ready_; // have something to hand to the provider
  std::vector<completion> polled_;
  uint64_t bytes_in_flight_ = 0;
  uint32_t pieces_in_flight_ = 0;
  bool was_connected_ = false; // the provider has taken something
  std::optional<clock::time_point> stalled_since_;
  std::optional<status> broken_; // the first complaint of the provider about the endpoint
  std::string closed_because_;
};

} // namespace perigee::transport
