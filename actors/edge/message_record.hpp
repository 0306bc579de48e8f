// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/actor_control_block.hpp>
#include <caf/byte_buffer.hpp>
#include <caf/message.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace perigee {

/// Names of actors that mean the same in every run, for records of messages. Not synchronized.
class actor_names {
public:
  void set(caf::actor_id id, std::string name) {
    names_[id] = std::move(name);
  }

  /// `fallback` for an actor without a name.
  std::string_view of(caf::actor_id id, std::string_view fallback) const {
    auto at = names_.find(id);
    return at == names_.end() ? fallback : std::string_view{at->second};
  }

private:
  std::unordered_map<caf::actor_id, std::string> names_;
};

/// "perigee::lease", or the types of all elements separated by blanks.
std::string type_names(const caf::message& what);

/// Appends the content of a message as CAF's binary format has it, without anything that differs between runs: handles are
/// left out, of CAF's own notices the reason alone counts. A type that cannot travel adds nothing.
void append_content(caf::byte_buffer& to, const caf::message& what);

/// One line for people and for comparing runs: time, sender, receiver, types, content in hexadecimal.
std::string record_line(uint64_t ns, std::string_view sender, std::string_view receiver, std::string_view types,
                        const caf::byte_buffer& content);

} // namespace perigee
