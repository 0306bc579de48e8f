// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/ledger.hpp"
#include "transport/local/local_network.hpp"

#include <thread>

namespace perigee::transport {

/// The thread of a local fabric: copies what does not run inside `post`, piece by piece and in turn, and reports it.
class local_copier {
public:
  /// Starts the thread. All arguments outlive it.
  local_copier(local_network& network, local_node& own, fabric_events& events, ledger& books);
  /// Completes what is outstanding as `peer_lost` and ends the thread.
  ~local_copier();

private:
  struct peer {
    std::string name;
    std::shared_ptr<local_node> node; // nothing before `connect`, and where nobody lives at the address
    peer_id there = 0;
    bool connected = false;
    std::deque<std::unique_ptr<local_job>> waiting; // posted before `connect`
  };

  void run();
  bool handle(std::deque<local_mail> mail); // false: stop
  void handle(local_command::open& command);
  void handle(local_command::connect& command);
  void handle(local_command::post& command);
  void handle(local_command::refuse& command);
  void handle(local_command::cancel& command);
  void handle(local_command::fence& command);
  void handle(local_command::arrival& command);

  void step();
  std::unique_ptr<local_job> take_job(uint64_t id);
  /// Copies one piece; true when the job is over, with the outcome in `result`.
  bool advance(local_job& job, status& result);
  bool advance_at(local_node& node, peer_id there, local_job& job, status& result);
  void finish_peer(peer_id peer, const std::string& why);

  local_network& network_;
  local_node& own_;
  fabric_events& events_;
  ledger& books_;
  std::map<peer_id, peer> peers_;
  std::deque<std::unique_ptr<local_job>> jobs_; // in turn
  std::thread thread_;
};

} // namespace perigee::transport
