// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/message_record.hpp"

#include "actors/core/interfaces.hpp"

#include <caf/action.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/system_messages.hpp>

namespace perigee {

namespace {

/// Handles left out: their numbers differ between runs.
bool append(caf::binary_serializer& sink, const node_hello& what) {
  std::vector<address> actors;
  for (const auto& news : what.actors)
    actors.push_back(news.who);
  return sink.apply(what.version) && sink.apply(what.cluster) && sink.apply(what.from) && sink.apply(what.name)
         && sink.apply(actors) && sink.apply(what.answer_wanted);
}

} // namespace

std::string type_names(const caf::message& what) {
  std::string result;
  for (auto type : what.types()) {
    if (!result.empty())
      result += ' ';
    auto name = caf::query_type_name(type);
    result.append(name.data(), name.size());
  }
  return result;
}

void append_content(caf::byte_buffer& to, const caf::message& what) {
  auto start = to.size();
  caf::binary_serializer sink{nullptr, to};
  auto complete = true;
  if (what.match_elements<peer_up>())
    complete = sink.apply(what.get_as<peer_up>(0).who);
  else if (what.match_elements<node_hello>())
    complete = append(sink, what.get_as<node_hello>(0));
  else if (what.match_elements<caf::exit_msg>())
    complete = sink.apply(what.get_as<caf::exit_msg>(0).reason);
  else if (what.match_elements<caf::down_msg>())
    complete = sink.apply(what.get_as<caf::down_msg>(0).reason);
  else if (!what.match_elements<caf::action>())
    complete = sink.apply(what);
  if (!complete)
    to.resize(start);
}

std::string record_line(uint64_t ns, std::string_view sender, std::string_view receiver, std::string_view types,
                        const caf::byte_buffer& content) {
  constexpr char digits[] = "0123456789abcdef";
  auto line = std::to_string(ns);
  line.append(" ").append(sender).append(" > ").append(receiver).append(" ").append(types).append(" ");
  line.reserve(line.size() + 2 * content.size() + 1);
  for (auto value : content) {
    line += digits[caf::to_integer<unsigned>(value) >> 4];
    line += digits[caf::to_integer<unsigned>(value) & 15];
  }
  line += '\n';
  return line;
}

} // namespace perigee
