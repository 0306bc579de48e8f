// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_stream.hpp"

#include "kernels/cpu/cpu_stream.hpp"
#include "kernels/cpu/work_check.hpp"
#include "kernels/cuda/forward.hpp"
#include "kernels/cuda/pool_copy.hpp"
#include "kernels/cuda/wait.hpp"
#include "kernels/passage_table.hpp"
#include "kernels/work_queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <mutex>
#include <variant>

namespace perigee::kernels {

namespace {

using cuda::queue;

const cuda_stream_options& checked(const cuda_stream_options& options) {
  auto require = [](std::string_view name, uint64_t value, bool fine, std::string_view allowed) {
    if (!fine)
      throw failure(errc::invalid_argument, fmt::format("stream: {} is {}; allowed: {}", name, value, allowed));
  };
  require("slots", options.slots, options.slots >= 1, "at least 1");
  require("block_tokens", options.block_tokens,
          std::has_single_bit(options.block_tokens) && options.block_tokens >= 16 && options.block_tokens <= 4096,
          "a power of two from 16 to 4096 on a CUDA device");
  require("rows_max", options.rows_max, options.rows_max >= 1, "at least 1");
  require("batch_max", options.batch_max, options.batch_max >= 1, "at least 1");
  require("deadline_ns", options.deadline_ns, options.deadline_ns >= 1, "at least 1");
  return options;
}

/// Everything that lives on the device, in the order in which it may be made and must be freed.
struct device_parts {
  device_parts(std::unique_ptr<cuda::machine> on, const model& weights, const kv_layout& layout,
               const cuda_stream_options& options)
    : machine(std::move(on)),
      weights(cuda::upload_weights(
        *machine, weights,
        static_cast<uint32_t>(std::min<uint64_t>(uint64_t{options.slots} * options.block_tokens, UINT32_MAX)))),
      pool(*machine, layout, options.slots),
      pass(*machine, this->weights, layout, pool.device(),
           {options.block_tokens, std::min(options.rows_max, weights.config().context), options.batch_max}),
      passages(layout.layers), end(machine->make_event()) {}

  std::unique_ptr<cuda::machine> machine;
  cuda::device_weights weights;
  cuda::pool_copy pool;
  cuda::forward pass;
  passage_table<std::optional<cuda::forward::passage>> passages; // of the queue's thread
  cuda::machine::event end;
};

/// Devices that did not answer. Freeing their memory would wait for them for ever, and they may still write to it.
void abandon(std::unique_ptr<device_parts> parts) {
  static auto mutex = std::mutex{};
  static auto& all = *new std::vector<std::unique_ptr<device_parts>>; // never freed, not even at the program's end
  auto lock = std::lock_guard{mutex};
  all.push_back(std::move(parts));
}

class cuda_stream final : public stream {
public:
  cuda_stream(std::shared_ptr<const model> weights, const cuda_stream_options& options, stream_events& events,
              std::unique_ptr<cuda::machine> device)
    : options_(checked(options)),
      layout_(weights->layout(options.block_tokens)), limits_{options.slots, options.block_tokens,
                                                              weights->config().vocab, weights->config().context,
                                                              layout_.layers},
      parts_(std::make_unique<device_parts>(std::move(device), *weights, layout_, options)), host_(parts_->pool.host()),
      events_(events), queue_(events, [this](const work_queue::work& next, work_result& result) { answer(next, result); }) {}

  ~cuda_stream() override {
    queue_.end();
    if (queue_.lost().code == errc::timed_out)
      abandon(std::move(parts_));
  }

  const kv_layout& layout() const override {
    return layout_;
  }
  std::span<std::byte> pool() override {
    if (behind_)
      queue_.run_if_idle([this] {
        touch([this] { parts_->pool.export_behind(); });
      });
    return host_;
  }
  uint32_t slots() const override {
    return options_.slots;
  }
  bool by_layer() const override {
    return uint64_t{options_.slots} * layout_.layers <= UINT32_MAX; // Places must have numbers.
  }

  void submit(prefill_work work) override {
    queue_.push(std::move(work));
  }
  void submit(decode_work work) override {
    queue_.push(std::move(work));
  }
  void submit(copy_work work) override {
    queue_.push(std::move(work));
  }
  void written(std::vector<uint32_t> slots) override {
    std::erase_if(slots, [this](uint32_t slot) { return slot >= options_.slots; });
    queue_.push_task([this, slots = std::move(slots)] {
      touch([&] { parts_->pool.import_blocks(slots); }); // waited for: the caller may write to the copy again
    });
  }

  void cancel(uint64_t id) override {
    queue_.cancel(id);
    queue_.push_task([this, id] { parts_->passages.end(id); });
  }

private:
  bool stopping() const {
    return queue_.stopping();
  }

  void answer(const work_queue::work& next, work_result& result) {
    guarded(result.outcome, [&] { std::visit([&](const auto& work) { run(work, result); }, next); });
  }

  /// Between the items: moves blocks between the device and the copy, and waits until they are there.
  template <class Move>
  void touch(Move move) {
    auto unheard = status{};
    if (queue_.lost().ok())
      guarded(unheard, [&] {
        move();
        drain();
      });
  }

  /// What the device says no to is the outcome; after an error that may leave work under way it is lost.
  template <class Body>
  void guarded(status& outcome, Body body) {
    try {
      body();
    } catch (const failure& error) {
      outcome = {error.code(), error.what()};
      if (error.code() == errc::timed_out || error.code() == errc::io_error || error.code() == errc::corrupt)
        lose(outcome);
    } catch (const std::exception& error) { // no memory on the host
      outcome = {errc::io_error, error.what()};
      lose(outcome);
    }
    behind_ = parts_->pool.any_behind();
  }

  void lose(const status& why) {
    queue_.lose({why.code, "the device is lost: " + why.context});
  }

  /// Until the device has done everything and writes nothing more.
  void drain() {
    auto& on = *parts_->machine;
    for (auto where : {queue::compute, queue::copy}) {
      on.record(where, parts_->end);
      cuda::wait_for(on, parts_->end, options_.deadline_ns);
    }
  }

  void run(const prefill_work& work, work_result& result) {
    if (result.outcome = check_layers(work, layout_, activation_bytes_block(), by_layer()); !result.outcome.ok())
      return;
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    auto count = static_cast<uint32_t>(work.tokens.size());
    auto visit = std::optional<decltype(parts_->passages)::visit>{};
    if (work.passage != 0) {
      visit.emplace(parts_->passages, work);
      if (result.outcome = visit->outcome(); !result.outcome.ok())
        return;
      if (!visit->kept())
        visit->kept() = parts_->pass.make_passage(count);
    }
    auto rows_max = std::min(options_.rows_max, limits_.context);
    for (auto first = uint32_t{0}; first < count && result.outcome.ok(); first += rows_max) {
      auto tokens = std::span{work.tokens}.subspan(first, std::min(rows_max, count - first));
      auto part = std::optional<cuda::forward::passage_part>{};
      if (visit)
        part.emplace(cuda::forward::passage_part{*visit->kept(), first, work.layers.first});
      prefill(work, tokens, work.start + first, first + tokens.size() == count, part, result);
    }
    if (visit && result.outcome.ok())
      visit->passed();
  }

  /// One piece of a prefill. Layers are told with the last, when K and V of all pieces are there.
  void prefill(const prefill_work& work, std::span<const token_id> tokens, uint32_t start, bool last,
               const std::optional<cuda::forward::passage_part>& part, work_result& result) {
    auto& pool = parts_->pool;
    auto& pass = parts_->pass;
    auto blocks = std::span{work.blocks};
    pass.begin_prefill(tokens, start, blocks, part);
    // The last piece exports what all have written.
    auto first_block = (last ? work.start : start) / layout_.block_tokens;
    auto end_block = layout_.blocks_for(start + static_cast<uint32_t>(tokens.size()));
    auto layers = work.layers;
    if (last)
      pool.begin_layers(blocks.subspan(first_block, end_block - first_block),
                        part ? std::optional{layers.first} : std::nullopt);
    auto told = layers.first;
    auto tell = [&] { // of the oldest layer that is under way; false where somebody wants an end
      cuda::wait_for(*parts_->machine, pool.layer_exported(told), options_.deadline_ns);
      if (stopping())
        return false;
      events_.layer_done(work.id, told++);
      return true;
    };
    auto on = true;
    auto wanted = last && !work.samples.empty();
    for (auto layer = layers.first; layer < layers.end_of(layout_.layers) && on; ++layer) {
      pass.layer_kv(layer);
      if (last)
        pool.export_layer(layer);
      pass.layer_rest(layer, wanted);
      // One layer ahead: the device has work while this thread waits, and an end is never far.
      if (last && layer > layers.first)
        on = tell();
      else
        on = !stopping();
    }
    if (on && last)
      on = tell();
    if (!on) {
      drain();
      result.outcome = {errc::cancelled, "cancelled while it ran"};
      return;
    }
    for (auto at = size_t{0}; wanted && at < work.samples.size(); at += options_.batch_max) {
      auto part = std::span{work.samples}.subspan(at, std::min<size_t>(options_.batch_max, work.samples.size() - at));
      pass.sample_last(part);
      drain();
      take_tokens(part.size(), result);
    }
    drain();
  }

  void run(const decode_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    auto& pool = parts_->pool;
    for (auto at = size_t{0}; at < work.rows.size(); at += options_.batch_max) {
      auto rows = std::span{work.rows}.subspan(at, std::min<size_t>(options_.batch_max, work.rows.size() - at));
      parts_->pass.step(rows);
      auto full = std::vector<uint32_t>{};
      for (const auto& row : rows) {
        auto slot = row.blocks[row.position / layout_.block_tokens];
        if ((row.position + 1) % layout_.block_tokens == 0)
          full.push_back(slot);
        else
          pool.mark(slot);
      }
      pool.export_blocks(full);
      drain();
      if (stopping()) {
        result.outcome = {errc::cancelled, "cancelled while it ran"};
        return;
      }
      take_tokens(rows.size(), result);
    }
  }

  void run(const copy_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    parts_->pool.copy_blocks(work.slots);
    auto slots = std::vector<uint32_t>{};
    for (auto [from, to] : work.slots)
      slots.push_back(to);
    parts_->pool.export_blocks(slots);
    drain();
  }

  void take_tokens(size_t count, work_result& result) {
    for (auto i = size_t{0}; i < count; ++i) {
      auto token = parts_->pass.tokens()[i];
      if (token < 0)
        result.outcome = {errc::corrupt, fmt::format("row {}: no logit is a finite number", result.tokens.size())};
      result.tokens.push_back(token);
    }
  }

  const cuda_stream_options options_;
  const kv_layout layout_;
  const cpu::work_limits limits_;
  std::unique_ptr<device_parts> parts_;
  const std::span<std::byte> host_;
  stream_events& events_;
  std::atomic<bool> behind_ = false; // the copy of some block on the host; written by the queue's thread
  work_queue queue_;                 // last: its thread uses the rest
};

} // namespace

std::unique_ptr<stream> make_cuda_stream(std::shared_ptr<const model> weights, const cuda_stream_options& options,
                                         stream_events& events, std::unique_ptr<cuda::machine> device) {
  return std::make_unique<cuda_stream>(std::move(weights), options, events, std::move(device));
}

} // namespace perigee::kernels
