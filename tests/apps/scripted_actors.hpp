// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"

#include <caf/event_based_actor.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace perigee {

/// What a test tells its scripted actors to answer, and what they were sent. Any thread.
class script {
public:
  /// What happens when a request comes: runs in the session, may send to `edge`.
  using opener = std::function<void(caf::event_based_actor* self, const caf::actor& edge, const open_request&)>;

  explicit script(opener on_open = {}) : on_open_(std::move(on_open)) {}

  template <class Change>
  void change(Change apply) {
    auto lock = std::lock_guard{mutex_};
    apply(*this);
  }
  template <class T>
  T read(T script::*member) {
    auto lock = std::lock_guard{mutex_};
    return this->*member;
  }

  session_status session{0, 0, 0, 0, 0, 0, true};
  cluster_status cluster;
  transport_status transport;
  std::vector<decision_record> decisions;
  std::vector<open_request> opened;
  std::vector<close_request> closed;
  uint32_t decision_queries = 0;
  caf::actor edge; ///< who sent the newest request

private:
  friend caf::behavior scripted_session(caf::event_based_actor*, std::shared_ptr<script>);
  std::mutex mutex_;
  opener on_open_;
};

inline caf::behavior scripted_session(caf::event_based_actor* self, std::shared_ptr<script> with) {
  return {
    [=](const open_request& request) {
      auto edge = caf::actor_cast<caf::actor>(self->current_sender());
      with->change([&](script& it) {
        it.opened.push_back(request);
        it.edge = edge;
      });
      if (with->on_open_)
        with->on_open_(self, edge, request);
    },
    [=](const close_request& request) { with->change([&](script& it) { it.closed.push_back(request); }); },
    [=](atom::get_status) { return with->read(&script::session); },
  };
}

inline caf::behavior scripted_conductor(caf::event_based_actor*, std::shared_ptr<script> with) {
  return {
    [=](atom::get_status) { return with->read(&script::cluster); },
    [=](atom::get_decision, uint64_t session, uint64_t number) -> caf::result<decision_record> {
      with->change([](script& it) { ++it.decision_queries; });
      for (const auto& made : with->read(&script::decisions))
        if (made.id.request == request_id{session, number})
          return made;
      return caf::sec::no_such_key;
    },
  };
}

inline caf::behavior scripted_transport(caf::event_based_actor*, std::shared_ptr<script> with) {
  return {[=](atom::get_status) { return with->read(&script::transport); }};
}

} // namespace perigee
