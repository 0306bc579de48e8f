// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_stream.hpp"

#include "kernels/block_table.hpp"
#include "kernels/cpu/core_share.hpp"
#include "kernels/cpu/transformer.hpp"
#include "kernels/cpu/work_check.hpp"
#include "kernels/passage_table.hpp"
#include "kernels/sampler.hpp"
#include "kernels/work_queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <variant>

namespace perigee::kernels {

namespace {

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

/// The processors of the stream's threads, the first that of its own; empty: they are not bound.
std::vector<uint32_t> processors_of(const stream_options& options) {
  auto all = cpu::allowed_processors();
  if (!options.pin_from || all.empty())
    return {};
  std::ranges::rotate(all, all.begin() + *options.pin_from % all.size());
  return all;
}

class cpu_stream final : public stream {
public:
  cpu_stream(std::shared_ptr<const model> weights, const stream_options& options, stream_events& events)
    : slots_(checked(options).slots),
      layout_(weights->layout(options.block_tokens)), limits_{slots_, options.block_tokens, weights->config().vocab,
                                                              weights->config().context, weights->config().layers},
      cores_(options.cores), processors_(processors_of(options)), pool_(slots_ * layout_.block_bytes()),
      table_(pool(), layout_.block_bytes()), passages_(layout_.layers),
      transformer_(std::move(weights), options.block_tokens,
                   {options.threads, options.reference_kernels, options.batch_invariant, cores_.get(), processors_}),
      samplers_(transformer_.threads()), events_(events),
      queue_(events, [this](const work_queue::work& next, work_result& result) {
        auto turn = cpu::core_share::turn{cores_.get()};
        std::visit([&](const auto& work) { run(work, result); }, next);
      }) {
    if (!processors_.empty())
      queue_.push_task([this] { cpu::pin_this_thread(processors_.front()); });
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
  uint64_t activation_bytes_block() const override {
    return transformer_.activation_bytes_block();
  }
  bool by_layer() const override {
    return uint64_t{table_.slots()} * layout_.layers <= UINT32_MAX; // Places must have numbers.
  }
  std::optional<uint32_t> lend(std::span<const std::byte> memory) override {
    auto first = table_.lend(memory);
    limits_.lent = table_.slots() - slots_;
    return first;
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

  void cancel(uint64_t id) override {
    queue_.cancel(id);
    queue_.push_task([this, id] { passages_.end(id); });
  }

private:
  void run(const prefill_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    if (result.outcome = check_layers(work, layout_, activation_bytes_block(), by_layer()); !result.outcome.ok())
      return;
    auto covered = covering(work.blocks, work.start + static_cast<uint32_t>(work.tokens.size()));
    blocks_.clear();
    if (work.passage == 0)
      append_addresses(table_, covered, blocks_);
    else
      for (auto place : covered)
        blocks_.push_back(place_address(table_, place, layout_));
    rows_.clear();
    for (auto i = uint32_t{0}; i < work.tokens.size(); ++i)
      rows_.push_back({work.tokens[i], work.start + i, blocks_.data()});
    wanted_.clear();
    if (!work.samples.empty())
      wanted_.push_back(static_cast<uint32_t>(rows_.size()) - 1);
    auto after_layer = [&](uint32_t layer) {
      if (queue_.stopping())
        return false;
      events_.layer_done(work.id, layer);
      return true;
    };
    auto visit = std::optional<passage_table<cpu::transformer::passage>::visit>{};
    auto part = cpu::transformer::part{work.layers, nullptr, [this] { return !queue_.stopping(); }};
    if (work.passage != 0) {
      visit.emplace(passages_, work);
      if (result.outcome = visit->outcome(); !result.outcome.ok())
        return;
      part.kept = &visit->kept();
    }
    if (!transformer_.forward(rows_, wanted_, after_layer, part)) {
      result.outcome = {errc::cancelled, "cancelled while it ran"};
      return;
    }
    if (visit)
      visit->passed();
    sample(work.samples, std::identity{}, result);
  }

  void run(const decode_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    auto count = size_t{0};
    for (const auto& row : work.rows)
      count += covering(row.blocks, row.position + 1).size();
    blocks_.clear();
    blocks_.reserve(count); // None may move any more.
    rows_.clear();
    for (const auto& row : work.rows) {
      rows_.push_back({row.token, row.position, blocks_.data() + blocks_.size()});
      append_addresses(table_, covering(row.blocks, row.position + 1), blocks_);
    }
    wanted_.resize(rows_.size());
    std::iota(wanted_.begin(), wanted_.end(), 0u);
    if (!transformer_.forward(rows_, wanted_, [&](uint32_t) { return !queue_.stopping(); })) {
      result.outcome = {errc::cancelled, "cancelled while it ran"};
      return;
    }
    sample(work.rows, &decode_row::sample, result);
  }

  void run(const copy_work& work, work_result& result) {
    if (result.outcome = cpu::check(work, limits_); !result.outcome.ok())
      return;
    for (auto [from, to] : work.slots)
      std::memcpy(table_.at(to), table_.at(from), layout_.block_bytes());
  }

  std::span<const uint32_t> covering(std::span<const uint32_t> slots, uint32_t tokens) const {
    return slots.first(layout_.blocks_for(tokens));
  }

  /// One token for each item, whose request is `request_of(item)`: from the logits of its row, or all from those of the
  /// only one.
  template <class Item, class Request>
  void sample(const std::vector<Item>& items, Request request_of, work_result& result) {
    auto row_of = [&](uint32_t i) { return wanted_.size() == 1 ? 0 : i; };
    auto count = static_cast<uint32_t>(items.size());
    result.tokens.resize(count);
    transformer_.each_output(count, [&](uint32_t i, uint32_t thread) {
      result.tokens[i] = samplers_[thread].sample(transformer_.logits(row_of(i)), std::invoke(request_of, items[i]));
    });
    for (auto i = uint32_t{0}; i < count; ++i)
      if (result.tokens[i] < 0)
        result.outcome = {errc::corrupt, fmt::format("row {}: no logit is a finite number", row_of(i))};
  }

  const uint32_t slots_;
  const kv_layout layout_;
  cpu::work_limits limits_;
  const std::shared_ptr<cpu::core_share> cores_;
  const std::vector<uint32_t> processors_;
  cpu::aligned_buffer<std::byte> pool_;
  block_table table_;
  passage_table<cpu::transformer::passage> passages_; // of the queue's thread
  cpu::transformer transformer_;
  std::vector<sampler> samplers_; ///< one for each thread
  stream_events& events_;
  std::vector<std::byte*> blocks_; // of the rows
  std::vector<cpu::row> rows_;
  std::vector<uint32_t> wanted_;
  work_queue queue_; // last: its thread uses the rest
};

} // namespace

std::unique_ptr<stream> make_cpu_stream(std::shared_ptr<const model> weights, const stream_options& options,
                                        stream_events& events) {
  weights->pack(options.packing);
  return std::make_unique<cpu_stream>(std::move(weights), options, events);
}

} // namespace perigee::kernels
