// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"

#include <string>
#include <vector>

namespace perigee {

/// Raised when messages or type ids change: peers of different versions refuse each other.
inline constexpr uint32_t wire_version = 4;

/// A node introduces itself to another and names its actors. Sent after every connect, and once in answer.
struct node_hello {
  uint32_t version = 0;
  std::string cluster; ///< what must be equal on all nodes: model, block size, layout
  address from;
  std::string name;
  caf::actor node;
  std::vector<peer_up> actors;
  bool answer_wanted = false;
};

template <class Inspector>
bool inspect(Inspector& f, node_hello& x) {
  return f.object(x).fields(f.field("version", x.version), f.field("cluster", x.cluster), f.field("from", x.from),
                            f.field("name", x.name), f.field("node", x.node), f.field("actors", x.actors),
                            f.field("answer_wanted", x.answer_wanted));
}

} // namespace perigee
