// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/stream.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <variant>

namespace perigee::kernels {

/// What every stream with a thread of its own does alike: a bounded queue, one item at a time, each answered once and
/// in order of submission, and cancelling. The stream says how an item runs. Make it last and destroy it first: its
/// thread uses the rest.
class work_queue {
public:
  using work = std::variant<prefill_work, decode_work, copy_work>;
  /// Runs one item on the queue's thread and fills in outcome and tokens; what it throws is answered `io_error`.
  using runner = std::function<void(const work&, work_result&)>;

  /// `events` must outlive it.
  work_queue(stream_events& events, runner run);
  /// Items that have not run are answered `cancelled`; tasks still run.
  ~work_queue();

  work_queue(const work_queue&) = delete;
  work_queue& operator=(const work_queue&) = delete;

  /// A full queue answers `exhausted` in the item's place.
  void push(work next);
  /// As the contract of stream::cancel says. Any thread.
  void cancel(uint64_t id);

  /// Runs between the items, in order with them; neither counted nor answered. Must not throw.
  void push_task(std::function<void()> task);
  /// Runs it and waits for its end, unless an item or a task waits or runs. Not from the queue's thread.
  void run_if_idle(std::function<void()> task);

  /// For the runner: whether the item that runs was cancelled, or the queue ends.
  bool stopping() const noexcept {
    return stop_running_.load(std::memory_order_relaxed);
  }
  /// For the runner and tasks: answers every later item with `why`, without running it.
  void lose(status why) {
    lost_ = std::move(why);
  }
  /// The reason given to `lose`. On the queue's thread, or when it is over.
  const status& lost() const noexcept {
    return lost_;
  }
  /// Ends the thread as the destructor does; afterwards nothing may be pushed.
  void end();

private:
  /// Stands in the queue for an item that was not accepted, so that its answer keeps its place.
  struct refused {
    uint64_t id = 0;
    status why;
  };
  struct item {
    std::variant<work, refused, std::function<void()>> what;
    bool cancelled = false;

    bool is(uint64_t id) const;
  };

  void put(item next);
  void loop();
  work_result answer(const work& next);

  stream_events& events_;
  const runner run_;
  status lost_; // of the queue's thread

  std::mutex mutex_; // guards everything below but the atomic
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<item> queue_;
  uint32_t accepted_ = 0; // items in the queue or running, without refused ones and tasks
  uint64_t running_id_ = 0;
  bool running_ = false;
  bool stop_ = false;
  std::atomic<bool> stop_running_ = false;
  std::thread thread_;
};

} // namespace perigee::kernels
