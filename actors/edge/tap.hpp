// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/edge/message_record.hpp"

#include <caf/actor.hpp>
#include <caf/actor_profiler.hpp>

#include <cstdio>
#include <filesystem>
#include <mutex>

namespace perigee {

/// Records every nondeterministic input of a node's actors: the messages they take from other nodes, from the threads of an
/// edge, and from their own timers. What one local actor tells another follows from those and is left out. One line of
/// `record_line` each, in the order in which the actors took them.
///
/// Off unless a node is told to: then it is the `profiler` of the actor system's configuration, which it must outlive. Taken
/// by the threads of CAF's scheduler, so it has a lock of its own.
class tap final : public caf::actor_profiler {
public:
  /// Opens (and empties) `file`. Throws `failure`.
  explicit tap(const std::filesystem::path& file);
  ~tap() override;

  tap(const tap&) = delete;
  tap& operator=(const tap&) = delete;

  /// Gives an actor the name that its records carry; without one they carry the name of its kind.
  void name(const caf::actor& who, std::string name);

  void add_actor(const caf::local_actor& self, const caf::local_actor* parent) override;
  void remove_actor(const caf::local_actor& self) override;
  void before_processing(const caf::local_actor& self, const caf::mailbox_element& element) override;
  void after_processing(const caf::local_actor& self, caf::invoke_message_result result) override;
  void before_sending(const caf::local_actor& self, caf::mailbox_element& element) override;
  void before_sending_scheduled(const caf::local_actor& self, caf::actor_clock::time_point timeout,
                                caf::mailbox_element& element) override;

private:
  std::mutex mutex_;
  actor_names names_;
  std::FILE* file_;
};

} // namespace perigee
