// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/libfabric/peer_link.hpp"
#include "transport/mailbox.hpp"

#include <poll.h>

#include <functional>
#include <future>
#include <thread>
#include <variant>

namespace perigee::transport {

/// The thread that owns the domain, all endpoints and their queues. The methods may be called from any one thread at a
/// time.
class engine {
public:
  /// Throws `failure` where the provider cannot be opened. `events` and `books` outlive the engine.
  engine(const libfabric_options& options, fabric_events& events, ledger& books);
  /// Closes all endpoints, completes what is outstanding as `peer_lost`, ends the thread.
  ~engine();

  std::string describe() const {
    return description_;
  }

  struct region_view {
    std::span<std::byte> memory;
    void* descriptor = nullptr;
    remote_region remote;
  };

  /// These wait for the thread, which takes microseconds to milliseconds. They throw `failure`.
  region_view register_memory(region_id id, std::span<std::byte> memory);
  void deregister(region_id id);
  /// Returns the address that the peer must pass to its own `connect`.
  std::string open_peer(peer_id id, std::string name);
  void connect(peer_id id, std::string address);

  /// These return at once.
  void post(std::unique_ptr<provider_job> job);
  void refuse(uint64_t id, status why);
  void cancel(uint64_t id);
  void fence(peer_id id);

private:
  struct call {
    std::packaged_task<void()>* task; // lives in the waiting caller
  };
  struct refusal {
    uint64_t id;
    status why;
  };
  struct cancellation {
    uint64_t id;
  };
  struct fencing {
    peer_id id;
  };
  struct stop {};
  using mail = std::variant<call, std::unique_ptr<provider_job>, refusal, cancellation, fencing, stop>;

  void run_there(std::function<void()> work);
  void run();
  bool handle(std::deque<mail> commands); // false: stop
  void handle(call& command);
  void handle(std::unique_ptr<provider_job>& job);
  void handle(refusal& command);
  void handle(cancellation& command);
  void handle(fencing& command);
  /// A peer is polled while something happens with it; then its descriptor is armed, and tells when to look again.
  struct watched {
    std::unique_ptr<peer_link> link;
    bool armed = false;
    peer_link::clock::time_point last_busy; ///< polled until some time after this
  };

  /// Looks at everything that is not armed, and arms what is quiet. Returns whether all is quiet now.
  bool look(peer_link::clock::time_point now);
  bool arm(const watched& peer) const;
  /// Waits for the descriptors, at most `limit`, and disarms what they point at.
  void wait(peer_link::clock::duration limit);
  /// How long all may stay quiet before somebody is looked at without being asked.
  peer_link::clock::duration quiet_max(peer_link::clock::time_point now) const;
  void wake(watched& peer);

  const libfabric_options options_;
  fabric_events& events_;
  ledger& books_;
  domain domain_;
  const std::string description_;
  std::map<region_id, registration> regions_;
  std::map<peer_id, watched> peers_;
  peer_link::clock::time_point last_full_look_;
  std::vector<pollfd> waits_;     // scratch of `wait`
  std::vector<watched*> waiting_; // whose descriptors those are
  mailbox<mail> mail_;
  std::thread thread_; // last: it uses the others
};

} // namespace perigee::transport
