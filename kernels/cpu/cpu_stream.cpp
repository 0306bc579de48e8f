// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_stream.hpp"

#include "kernels/cpu/transformer.hpp"
#include "kernels/cpu/work_check.hpp"
#include "kernels/sampler.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <thread>
#include <variant>

namespace perigee::kernels {

namespace {

/// Stands in the queue for an item that was not accepted, so that its answer keeps its place.
struct refused {
  uint64_t id = 0;
  status why;
};

struct item {
  std::variant<prefill_work, decode_work, copy_work, refused> work;
  bool cancelled = false;

  uint64_t id() const {
    return std::visit([](const auto& w) { return w.id; }, work);
  }
};

const stream_options& checked(const stream_options& options) {
  auto require = [](std::string_view name, uint32_t value, uint32_t min, uint32_t max) {
    if (value < min || value > max)
      throw failure(errc::invalid_argument, fmt::format("stream: {} is {}; allowed: {} to {}", name, value, min, max));
  };
  require("slots", options.slots, 1, UINT32_MAX);
  require("block_tokens", options.block_tokens, 1, 4096);
  require("threads", options.threads, 1, UINT32_MAX);
  return options;
}

class cpu_stream final : public stream {
public:
  cpu_stream(std::shared_ptr<const model> weights, const stream_options& options, stream_events& events)
    : slots_(checked(options).slots),
      layout_(weights->layout(options.block_tokens)), limits_{slots_, options.block_tokens, weights->config().vocab,
                                                              weights->config().context},
      pool_(slots_ * layout_.block_bytes()),
      transformer_(std::move(weights), options.block_tokens,
                   {options.threads, options.reference_kernels, options.batch_invariant}, pool()),
      events_(events), thread_([this] { loop(); }) {}

  ~cpu_stream() override {
    {
      auto lock = std::lock_guard{mutex_};
      stop_ = true;
      stop_running_.store(true, std::memory_order_relaxed);
    }
    wake_.notify_one();
    thread_.join();
  }

  const kv_layout& layout() const override {
    return layout_;
  }
  std::span<std::byte> pool() override {
    return {pool_.data(), pool_.size()};
  }
  uint32_t slots() const override {
    return slots_;
  }

  void submit(prefill_work work) override {
    enqueue(std::move(work));
  }
  void submit(decode_work work) override {
    enqueue(std::move(work));
  }
  void submit(copy_work work) override {
    enqueue(std::move(work));
  }

  void cancel(uint64_t id) override {
    auto lock = std::lock_guard{mutex_};
    if (running_ && running_id_ == id)
      stop_running_.store(true, std::memory_order_relaxed);
    for (auto& waiting : queue_)
      if (waiting.id() == id)
        waiting.cancelled = true;
  }

private:
  template <class Work>
  void enqueue(Work work) {
    auto next = item{};
    {
      auto lock = std::lock_guard{mutex_};
      if (accepted_ >= stream_queue_max) {
        next.work = refused{work.id,
                            {errc::exhausted, fmt::format("the stream's queue holds {} items; allowed: {}", accepted_,
                                                          stream_queue_max)}};
      } else {
        ++accepted_;
        next.work = std::move(work);
      }
      queue_.push_back(std::move(next));
    }
    wake_.notify_one();
  }

  void loop() {
    auto lock = std::unique_lock{mutex_};
    for (;;) {
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty())
        return;
      auto next = std::move(queue_.front());
      queue_.pop_front();
      running_ = true;
      running_id_ = next.id();
      stop_running_.store(stop_ || next.cancelled, std::memory_order_relaxed);
      auto taken = !std::holds_alternative<refused>(next.work);
      lock.unlock();
      auto result = answer(next);
      lock.lock();
      running_ = false;
      if (taken)
        --accepted_;
      lock.unlock();
      events_.work_done(std::move(result));
      lock.lock();
    }
  }

  bool stopping() const {
    return stop_running_.load(std::memory_order_relaxed);
  }

  work_result answer(const item& next) {
    auto result = work_result{};
    result.id = next.id();
    if (auto* no = std::get_if<refused>(&next.work)) {
      result.outcome = no->why;
      return result;
    }
    if (stopping()) {
      result.outcome = {errc::cancelled, "cancelled before it started"};
      return result;
    }
    auto begin = std::chrono::steady_clock::now();
    try {
      std::visit([&](const auto& work) { run(work, result); }, next.work);
    } catch (const std::exception& error) { // no memory, or a library said no
      result.outcome = {errc::io_error, error.what()};
    }
    if (!result.outcome.ok())
      result.tokens.clear();
    result.busy_ns = static_cast<uint64_t>(std::chrono::nanoseconds{std::chrono::steady_clock::now() - begin}.count());
    return result;
  }

  void run(const refused&, work_result&) {}

  void run(const prefill_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    rows_.clear();
    for (auto i = uint32_t{0}; i < work.tokens.size(); ++i)
      rows_.push_back({work.tokens[i], work.start + i, work.blocks.data()});
    wanted_.clear();
    if (!work.samples.empty())
      wanted_.push_back(static_cast<uint32_t>(rows_.size()) - 1);
    if (!transformer_.forward(rows_, wanted_, [&](uint32_t layer) {
          if (stopping())
            return false;
          events_.layer_done(work.id, layer);
          return true;
        })) {
      result.outcome = {errc::cancelled, "cancelled while it ran"};
      return;
    }
    for (const auto& request : work.samples)
      sample(0, request, result);
  }

  void run(const decode_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    rows_.clear();
    for (const auto& row : work.rows)
      rows_.push_back({row.token, row.position, row.blocks.data()});
    wanted_.resize(rows_.size());
    std::iota(wanted_.begin(), wanted_.end(), 0u);
    if (!transformer_.forward(rows_, wanted_, [&](uint32_t) { return !stopping(); })) {
      result.outcome = {errc::cancelled, "cancelled while it ran"};
      return;
    }
    for (auto i = uint32_t{0}; i < work.rows.size(); ++i)
      sample(i, work.rows[i].sample, result);
  }

  void run(const copy_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    for (auto [from, to] : work.slots)
      std::memcpy(pool_.data() + layout_.offset(to), pool_.data() + layout_.offset(from), layout_.block_bytes());
  }

  void sample(uint32_t row, const sample_request& request, work_result& result) {
    auto token = sampler_.sample(transformer_.logits(row), request);
    if (token < 0)
      result.outcome = {errc::corrupt, fmt::format("row {}: no logit is a finite number", row)};
    result.tokens.push_back(token);
  }

  const uint32_t slots_;
  const kv_layout layout_;
  const cpu::work_limits limits_;
  cpu::aligned_buffer<std::byte> pool_;
  cpu::transformer transformer_;
  sampler sampler_;
  stream_events& events_;
  std::vector<cpu::row> rows_;
  std::vector<uint32_t> wanted_;

  std::mutex mutex_; // guards everything below but the atomic
  std::condition_variable wake_;
  std::deque<item> queue_;
  uint32_t accepted_ = 0; // items in the queue or running, without refused ones
  uint64_t running_id_ = 0;
  bool running_ = false;
  bool stop_ = false;
  std::atomic<bool> stop_running_ = false;
  std::thread thread_;
};

} // namespace

std::unique_ptr<stream> make_cpu_stream(std::shared_ptr<const model> weights, const stream_options& options,
                                        stream_events& events) {
  return std::make_unique<cpu_stream>(std::move(weights), options, events);
}

} // namespace perigee::kernels
