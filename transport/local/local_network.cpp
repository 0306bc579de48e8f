// SPDX-License-Identifier: Apache-2.0
#include "transport/local/local_network.hpp"

#include "transport/base/spread_key.hpp"
#include "transport/local/local_fabric.hpp"

namespace perigee::transport {

std::shared_ptr<local_network> make_local_network() {
  return std::make_shared<local_network>();
}

std::shared_ptr<local_node> local_network::add() {
  auto lock = std::lock_guard{mutex_};
  std::erase_if(nodes_, [](const auto& entry) { return entry.second.expired(); });
  auto made = std::make_shared<local_node>(++nodes_made_);
  nodes_.emplace(made->number, made);
  return made;
}

std::shared_ptr<local_node> local_network::find(uint64_t number) const {
  auto lock = std::lock_guard{mutex_};
  auto found = nodes_.find(number);
  return found == nodes_.end() ? nullptr : found->second.lock();
}

uint64_t local_network::next_key() {
  auto lock = std::lock_guard{mutex_};
  return spread_key(0, ++keys_made_);
}

} // namespace perigee::transport
