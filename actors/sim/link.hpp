// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/world.hpp"

#include <caf/actor.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace perigee::sim {

/// How messages travel between two nodes. Each message draws for itself, so messages overtake each other.
struct link_options {
  uint64_t latency_ns_min = 20'000;
  uint64_t latency_ns_max = 200'000;
  uint32_t slow_ppm = 0; ///< stragglers: take up to `slow_ns_max` longer
  uint64_t slow_ns_max = 0;
  uint32_t loss_ppm = 0;      ///< gone without a trace, as when a connection drops
  uint32_t duplicate_ppm = 0; ///< comes twice, at two times
  uint32_t ghost_ppm = 500'000; ///< what was on its way when its sender was killed arrives nevertheless
  /// If not set, the message object itself travels: cheaper, and nothing is shown about `inspect`. No faults are drawn, the
  /// latency is `latency_ns_min`, and messages between two nodes keep their order.
  bool serialize = true;
};

/// The control network between simulated nodes. A message that crosses it is written to bytes and read back by the
/// production `inspect`. One-way messages only: the receiver cannot answer to a sender. Owned by the world's owner; must
/// outlive every run of the world.
class links {
public:
  links(world& home, link_options options);
  ~links();

  links(const links&) = delete;
  links& operator=(const links&) = delete;

  /// A handle through which actors of node `from` reach `target` at node `to`, both as they run now: after either was
  /// killed it delivers nothing more, also not to a successor. `name` is for the digest.
  caf::actor make(uint32_t from, uint32_t to, const caf::actor& target, std::string name);

  /// Loses everything from `from` to `to` (that direction alone) until `heal`.
  void cut(uint32_t from, uint32_t to);
  void heal(uint32_t from, uint32_t to);

  /// From now on the node's handles, and handles to it, are dead.
  void kill(uint32_t node);

  /// Sees each message that is not serialized when it starts, and may change it; returns how much longer it takes.
  using pass_hook = std::function<uint64_t(caf::message& what)>;
  void on_pass(pass_hook hook) {
    hook_ = std::move(hook);
  }

  void set_options(link_options options) {
    options_ = options;
  }

  struct counters {
    uint64_t sent = 0;
    uint64_t delivered = 0; ///< with duplicates
    uint64_t lost = 0;      ///< by chance, through a cut, or because an end was dead
    uint64_t duplicated = 0;
    uint64_t overtaken = 0; ///< delivered after one that the same handle had sent later
  };

  const counters& totals() const {
    return totals_;
  }

private:
  struct route;
  class wire;

  void cross(const std::shared_ptr<route>& way, const caf::message& what);
  void arrive(const std::shared_ptr<route>& way, const caf::byte_buffer& bytes, uint64_t number);

  void pass(const std::shared_ptr<route>& way, caf::mailbox_element_ptr what);

  world& home_;
  link_options options_;
  random_stream random_;
  counters totals_;
  pass_hook hook_;
  std::set<std::pair<uint32_t, uint32_t>> cuts_;
  std::vector<std::pair<std::shared_ptr<route>, caf::actor>> routes_;
};

} // namespace perigee::sim
