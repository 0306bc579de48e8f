// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace perigee::cli {

/// News of peers on their way from a node's actors to its gateway, which starts later: what came before is kept for it.
/// All calls from any thread.
class peer_feed {
public:
  void push(const peer_up& news) {
    auto lock = std::lock_guard{mutex_};
    if (listener_)
      listener_(news);
    else if (!closed_)
      early_.push_back(news);
  }

  /// `listener` hears everything, in order; must not call back.
  void connect(std::function<void(const peer_up&)> listener) {
    auto lock = std::lock_guard{mutex_};
    listener_ = std::move(listener);
    for (const auto& news : std::exchange(early_, {}))
      listener_(news);
  }

  /// Nobody listens (any more): forgets all handles, which must not outlive their actor system.
  void close() {
    auto lock = std::lock_guard{mutex_};
    closed_ = true;
    listener_ = nullptr;
    early_.clear();
  }

private:
  std::mutex mutex_;
  std::function<void(const peer_up&)> listener_;
  std::vector<peer_up> early_;
  bool closed_ = false;
};

} // namespace perigee::cli
