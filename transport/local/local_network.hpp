// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/fabric.hpp"
#include "transport/mailbox.hpp"
#include "transport/plan.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <variant>

namespace perigee::transport {

/// A transfer on its way: the copying thread owns it.
struct local_job {
  transfer work;
  std::byte* local = nullptr; ///< start of the local region
  piece_cursor cursor;
  uint64_t done = 0; ///< bytes copied
};

/// What the thread of a local fabric is told to do.
namespace local_command {

struct open {
  peer_id peer;
  std::string name;
};
struct connect {
  peer_id peer;
  uint64_t node;
  peer_id there; ///< what that node calls us
};
struct post {
  std::unique_ptr<local_job> job;
};
struct refuse {
  uint64_t id;
  status why;
};
struct cancel {
  uint64_t id;
};
struct fence {
  peer_id peer;
};
/// From another fabric's thread: its bytes are in our memory.
struct arrival {
  peer_id from;
  uint32_t immediate;
};
struct stop {};

} // namespace local_command

using local_mail =
  std::variant<local_command::open, local_command::connect, local_command::post, local_command::refuse,
               local_command::cancel, local_command::fence, local_command::arrival, local_command::stop>;

/// What other fabrics see of one. They copy while they hold `gate`; whoever must know that nobody does takes it too.
struct local_node {
  explicit local_node(uint64_t number) : number(number) {}

  const uint64_t number;
  mailbox<local_mail> mail;
  std::mutex gate;
  bool alive = true;            // guarded by gate
  std::set<peer_id> open_peers; // guarded by gate
  std::unordered_map<uint64_t, std::span<std::byte>>
    regions; // by key; guarded by gate, changed by the owner's thread only
};

/// Nodes by number, for as long as they live.
class local_network {
public:
  std::shared_ptr<local_node> add();
  /// Nothing where no such node lives.
  std::shared_ptr<local_node> find(uint64_t number) const;
  /// Never the same twice.
  uint64_t next_key();

private:
  mutable std::mutex mutex_;
  uint64_t nodes_made_ = 0; // guarded by mutex_, as everything here
  uint64_t keys_made_ = 0;
  std::map<uint64_t, std::weak_ptr<local_node>> nodes_;
};

} // namespace perigee::transport
