// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace perigee::cli {

/// Work that other threads leave for one `Owner`, in order. `push` from any thread, `take` from the owner's.
template <class Owner>
class task_queue {
public:
  using task = std::function<void(Owner&)>;

  /// Returns whether the owner has to be woken: tasks that come until it looks share one wake-up.
  bool push(task work) {
    auto lock = std::lock_guard{mutex_};
    tasks_.push_back(std::move(work));
    return tasks_.size() == 1;
  }

  std::vector<task> take() {
    auto lock = std::lock_guard{mutex_};
    return std::exchange(tasks_, {});
  }

private:
  std::mutex mutex_;
  std::vector<task> tasks_;
};

} // namespace perigee::cli
