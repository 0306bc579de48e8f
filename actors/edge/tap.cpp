// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/tap.hpp"

#include "transport/base/status.hpp"

#include <caf/actor_system.hpp>
#include <caf/local_actor.hpp>
#include <caf/mailbox_element.hpp>

#include <cerrno>
#include <cstring>

namespace perigee {

tap::tap(const std::filesystem::path& file) : file_(std::fopen(file.c_str(), "w")) {
  if (file_ == nullptr)
    throw failure{errc::io_error, "tap: cannot write " + file.string() + ": " + std::strerror(errno)};
}

tap::~tap() {
  std::fclose(file_);
}

void tap::name(const caf::actor& who, std::string name) {
  std::lock_guard guard{mutex_};
  names_.set(who.id(), std::move(name));
}

void tap::add_actor(const caf::local_actor&, const caf::local_actor*) {}

void tap::remove_actor(const caf::local_actor&) {}

void tap::before_processing(const caf::local_actor& self, const caf::mailbox_element& element) {
  const auto& sender = element.sender;
  std::string_view from = "edge";
  if (sender != nullptr && sender->id() == self.id() && sender->node() == self.node())
    from = "timer";
  else if (sender != nullptr && sender->node() != self.node())
    from = "link";
  else if (sender != nullptr)
    return;
  caf::byte_buffer content;
  append_content(content, element.payload);
  auto types = type_names(element.payload);
  auto ns = static_cast<uint64_t>(self.home_system().clock().now().time_since_epoch().count());
  std::lock_guard guard{mutex_};
  auto line = record_line(ns, from, names_.of(self.id(), self.name()), types, content);
  std::fwrite(line.data(), 1, line.size(), file_);
}

void tap::after_processing(const caf::local_actor&, caf::invoke_message_result) {}

void tap::before_sending(const caf::local_actor&, caf::mailbox_element&) {}

void tap::before_sending_scheduled(const caf::local_actor&, caf::actor_clock::time_point, caf::mailbox_element&) {}

} // namespace perigee
