// SPDX-License-Identifier: Apache-2.0
#include "kernels/work_queue.hpp"

#include <fmt/format.h>

#include <chrono>
#include <exception>

namespace perigee::kernels {

namespace {

uint64_t id_of(const work_queue::work& what) {
  return std::visit([](const auto& work) { return work.id; }, what);
}

} // namespace

bool work_queue::item::is(uint64_t id) const {
  auto* mine = std::get_if<work>(&what);
  return mine != nullptr && id_of(*mine) == id;
}

work_queue::work_queue(stream_events& events, runner run)
  : events_(events), run_(std::move(run)), thread_([this] { loop(); }) {}

work_queue::~work_queue() {
  end();
}

void work_queue::end() {
  {
    auto lock = std::lock_guard{mutex_};
    stop_ = true;
    stop_running_.store(true, std::memory_order_relaxed);
  }
  wake_.notify_one();
  if (thread_.joinable())
    thread_.join();
}

void work_queue::put(item next) {
  queue_.push_back(std::move(next));
  wake_.notify_one();
}

void work_queue::push(work next) {
  auto lock = std::lock_guard{mutex_};
  if (accepted_ >= stream_queue_max)
    return put({refused{
      id_of(next),
      {errc::exhausted, fmt::format("the stream's queue holds {} items; allowed: {}", accepted_, stream_queue_max)}}});
  ++accepted_;
  put({std::move(next)});
}

void work_queue::push_task(std::function<void()> task) {
  auto lock = std::lock_guard{mutex_};
  put({std::move(task)});
}

void work_queue::run_if_idle(std::function<void()> task) {
  auto lock = std::unique_lock{mutex_};
  if (running_ || !queue_.empty())
    return;
  auto over = false;
  put({[&] {
    task();
    auto guard = std::lock_guard{mutex_};
    over = true;
    idle_.notify_all();
  }});
  idle_.wait(lock, [&] { return over; });
}

void work_queue::cancel(uint64_t id) {
  auto lock = std::lock_guard{mutex_};
  if (running_ && running_id_ == id)
    stop_running_.store(true, std::memory_order_relaxed);
  for (auto& waiting : queue_)
    if (waiting.is(id))
      waiting.cancelled = true;
}

void work_queue::loop() {
  auto lock = std::unique_lock{mutex_};
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty())
      return;
    auto next = std::move(queue_.front());
    queue_.pop_front();
    auto* mine = std::get_if<work>(&next.what);
    running_ = true;
    running_id_ = mine != nullptr ? id_of(*mine) : 0;
    stop_running_.store(mine != nullptr && (stop_ || next.cancelled), std::memory_order_relaxed);
    lock.unlock();
    auto result = work_result{};
    if (mine != nullptr)
      result = answer(*mine);
    else if (auto* no = std::get_if<refused>(&next.what))
      result = {no->id, no->why, {}, 0};
    else
      std::get<std::function<void()>>(next.what)();
    lock.lock();
    running_ = false;
    if (mine != nullptr)
      --accepted_;
    if (std::holds_alternative<std::function<void()>>(next.what))
      continue;
    lock.unlock();
    events_.work_done(std::move(result));
    lock.lock();
  }
}

work_result work_queue::answer(const work& next) {
  auto result = work_result{};
  result.id = id_of(next);
  if (!lost_.ok()) {
    result.outcome = lost_;
    return result;
  }
  if (stopping()) {
    result.outcome = {errc::cancelled, "cancelled before it started"};
    return result;
  }
  auto begin = std::chrono::steady_clock::now();
  try {
    run_(next, result);
  } catch (const std::exception& error) { // no memory, or a library said no
    result.outcome = {errc::io_error, error.what()};
  }
  if (!result.outcome.ok())
    result.tokens.clear();
  result.busy_ns = static_cast<uint64_t>(std::chrono::nanoseconds{std::chrono::steady_clock::now() - begin}.count());
  return result;
}

} // namespace perigee::kernels
