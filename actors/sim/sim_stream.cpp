// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/sim_stream.hpp"

#include "actors/core/marker.hpp"
#include "kernels/cpu/work_check.hpp"

#include <cassert>
#include <cstring>

namespace perigee::sim {

namespace {

constexpr uint32_t queue_max = 64;
constexpr uint64_t answer_ns = 500; ///< from a decision to its answer, where nothing is computed

} // namespace

uint64_t sim_stream::item::id() const {
  return std::visit([](const auto& what) { return what.id; }, work);
}

sim_stream::sim_stream(world& home, stream_options options, kernels::stream_events& events)
  : home_(home), options_(std::move(options)), layout_(options_.model.layout()), events_(events),
    pool_(options_.slots * layout_.block_bytes()), table_(pool_, layout_.block_bytes()), passages_(layout_.layers) {}

sim_stream::~sim_stream() {
  *alive_ = false;
}

const kernels::kv_layout& sim_stream::layout() const {
  return layout_;
}

std::span<std::byte> sim_stream::pool() {
  return pool_;
}

uint32_t sim_stream::slots() const {
  return options_.slots;
}

void sim_stream::submit(kernels::prefill_work work) {
  enqueue(std::move(work));
}

void sim_stream::submit(kernels::decode_work work) {
  enqueue(std::move(work));
}

void sim_stream::submit(kernels::copy_work work) {
  enqueue(std::move(work));
}

template <class Work>
void sim_stream::enqueue(Work work) {
  if (accepted_ >= queue_max) {
    queue_.push_back({refused{work.id, {errc::exhausted, "the stream's queue holds 64 items; allowed: 64"}}});
  } else {
    ++accepted_;
    queue_.push_back({std::move(work)});
  }
  if (!running_)
    begin();
}

void sim_stream::cancel(uint64_t id) {
  for (auto& waiting : queue_)
    if (waiting.id() == id)
      waiting.cancelled = true;
  if (visit_ && std::get<kernels::prefill_work>(queue_.front().work).passage == id)
    queue_.front().cancelled = true;
  else
    passages_.end(id);
}

void sim_stream::fail() {
  health_ = health::failed;
}

void sim_stream::hang() {
  health_ = health::hung;
}

/// Starts the first item of the queue. One runs at a time.
void sim_stream::begin() {
  running_ = true;
  const auto& next = queue_.front();
  kernels::work_result result;
  result.id = next.id();
  result.outcome = check(next);
  if (const auto* work = std::get_if<kernels::prefill_work>(&next.work);
      work != nullptr && work->passage != 0 && result.outcome.ok()) {
    visit_.emplace(passages_, *work);
    result.outcome = visit_->outcome();
  }
  began_ns_ = home_.now();
  if (!result.outcome.ok())
    return later(answer_ns, [this, result] { finish(result); });
  auto takes = cost(next);
  if (const auto* work = std::get_if<kernels::prefill_work>(&next.work)) {
    auto count = work->layers.end_of(layout_.layers) - work->layers.first;
    layer_ns_ = takes / count;
    return later(takes - layer_ns_ * (count - 1), [this, first = work->layers.first] { layer_done(first); });
  }
  later(takes, [this, result]() mutable {
    const auto& done = queue_.front();
    if (done.cancelled)
      result.outcome = {errc::cancelled, "cancelled while it ran"};
    else if (const auto* step = std::get_if<kernels::decode_work>(&done.work))
      result.tokens = compute(*step);
    else
      for (auto [from, to] : std::get<kernels::copy_work>(done.work).slots)
        std::memcpy(table_.at(to), table_.at(from), layout_.block_bytes());
    finish(std::move(result));
  });
}

void sim_stream::layer_done(uint32_t layer) {
  const auto& work = std::get<kernels::prefill_work>(queue_.front().work);
  kernels::work_result result;
  result.id = work.id;
  if (queue_.front().cancelled) {
    marker("stream: cancelled while it ran");
    result.outcome = {errc::cancelled, "cancelled while it ran"};
    return finish(std::move(result));
  }
  if (layer == work.layers.first)
    take_activations(work);
  compute(work, layer);
  auto is_last = layer + 1 == work.layers.end_of(layout_.layers);
  if (is_last)
    leave_activations(work);
  events_.layer_done(work.id, layer);
  if (!is_last)
    return later(layer_ns_, [this, layer] { layer_done(layer + 1); });
  result.tokens = sample(work);
  if (visit_) {
    visit_->kept() = passing_;
    visit_->passed();
  }
  finish(std::move(result));
}

void sim_stream::finish(kernels::work_result result) {
  visit_.reset();
  auto taken = !std::holds_alternative<refused>(queue_.front().work);
  queue_.pop_front();
  accepted_ -= taken;
  running_ = false;
  result.busy_ns = home_.now() - began_ns_;
  if (!queue_.empty())
    begin();
  events_.work_done(std::move(result));
}

void sim_stream::later(uint64_t ns, std::function<void()> fn) {
  home_.at(ns, [this, alive = alive_, fn = std::move(fn)] {
    if (*alive && health_ != health::hung)
      fn();
  });
}

status sim_stream::check(const item& next) const {
  if (const auto* no = std::get_if<refused>(&next.work))
    return no->why;
  if (next.cancelled)
    return {errc::cancelled, "cancelled before it started"};
  if (health_ == health::failed)
    return {errc::io_error, "the simulated device failed"};
  auto limits =
    kernels::cpu::work_limits{options_.slots, layout_.block_tokens, static_cast<uint32_t>(options_.model.vocabulary),
                              options_.model.context, layout_.layers, table_.slots() - options_.slots};
  if (const auto* work = std::get_if<kernels::prefill_work>(&next.work)) {
    auto found = kernels::cpu::check(*work, limits);
    return found.ok() ? kernels::check_layers(*work, layout_, activation_bytes_block(), by_layer()) : found;
  }
  if (const auto* work = std::get_if<kernels::decode_work>(&next.work))
    return kernels::cpu::check(*work, limits);
  return kernels::cpu::check(std::get<kernels::copy_work>(next.work), limits);
}

uint64_t sim_stream::cost(const item& next) const {
  const auto& costs = options_.costs;
  if (const auto* work = std::get_if<kernels::prefill_work>(&next.work)) {
    auto end = work->layers.end_of(layout_.layers);
    auto whole = [&](bool last) { return costs.chunk_ns(work->start, work->tokens.size(), last); };
    if (work->passage == 0)
      return whole(!work->samples.empty()) * (end - work->layers.first) / layout_.layers;
    // All items of a passage together take what one chunk of its tokens does.
    return whole(false) * end / layout_.layers - whole(false) * work->layers.first / layout_.layers
           + (work->samples.empty() ? 0 : whole(true) - whole(false));
  }
  if (const auto* work = std::get_if<kernels::decode_work>(&next.work)) {
    uint64_t context = 0;
    for (const auto& row : work->rows)
      context += row.position + 1;
    return costs.step_ns(work->rows.size(), context);
  }
  return answer_ns + costs.copy_block_ns * std::get<kernels::copy_work>(next.work).slots.size();
}

std::vector<std::byte*> sim_stream::layer_of(std::span<const uint32_t> slots, uint32_t tokens, uint32_t layer) const {
  std::vector<std::byte*> result;
  for (auto slot : slots.first(layout_.blocks_for(tokens)))
    result.push_back(table_.at(slot) + layout_.offset(0, layer));
  return result;
}

std::vector<std::byte*> sim_stream::layer_of(const kernels::prefill_work& work, uint32_t layer) const {
  auto tokens = work.start + static_cast<uint32_t>(work.tokens.size());
  if (work.passage == 0)
    return layer_of(work.blocks, tokens, layer);
  std::vector<std::byte*> result;
  for (auto place : std::span{work.blocks}.first(layout_.blocks_for(tokens)))
    result.push_back(kernels::place_address(table_, place, layout_) + layout_.offset(0, layer - work.layers.first));
  return result;
}

uint64_t sim_stream::read(const std::byte* block, uint32_t position) {
  uint64_t tag = 0;
  std::memcpy(&tag, block + position % layout_.block_tokens * sizeof(tag), sizeof(tag));
  if (options_.known != nullptr && !options_.known->contains(tag))
    ++mismatches_;
  return tag;
}

void sim_stream::write(std::byte* block, uint32_t position, uint64_t tag) {
  std::memcpy(block + position % layout_.block_tokens * sizeof(tag), &tag, sizeof(tag));
}

uint64_t sim_stream::sum_before(std::span<std::byte* const> blocks, uint32_t position) {
  uint64_t sum = 0;
  for (uint32_t earlier = 0; earlier < position; ++earlier)
    sum += toy_model::weight(read(blocks[earlier / layout_.block_tokens], earlier), earlier);
  return sum;
}

std::byte* sim_stream::activation_place(const kernels::prefill_work& work, uint32_t position) {
  auto at = *kernels::activations_at(layout_, work.layers, activation_bytes_block());
  return table_.at(work.blocks[position / layout_.block_tokens]) + layout_.offset(0, at)
         + position % layout_.block_tokens * toy_model::activation_bytes;
}

void sim_stream::take_activations(const kernels::prefill_work& work) {
  if (visit_ && work.layers.first > 0) {
    passing_ = visit_->kept();
    return;
  }
  passing_.resize(work.tokens.size());
  for (uint32_t i = 0; i < passing_.size(); ++i)
    if (work.layers.first == 0)
      passing_[i] = {static_cast<uint64_t>(work.tokens[i]), options_.model.key};
    else
      std::memcpy(&passing_[i], activation_place(work, work.start + i), sizeof(activation));
}

void sim_stream::leave_activations(const kernels::prefill_work& work) {
  if (visit_ || work.layers.end_of(layout_.layers) == layout_.layers)
    return;
  for (uint32_t i = 0; i < passing_.size(); ++i)
    std::memcpy(activation_place(work, work.start + i), &passing_[i], sizeof(activation));
}

void sim_stream::compute(const kernels::prefill_work& work, uint32_t layer) {
  auto blocks = layer_of(work, layer);
  auto sum = sum_before(blocks, work.start);
  auto position = work.start;
  for (auto& [token, word] : passing_) {
    auto tag = options_.model.tag(sum, static_cast<token_id>(token), position, layer);
    write(blocks[position / layout_.block_tokens], position, tag);
    word = toy_model::fold(word, {&tag, 1});
    sum += toy_model::weight(tag, position);
    ++position;
  }
}

std::vector<token_id> sim_stream::compute(const kernels::decode_work& work) {
  std::vector<token_id> result;
  std::vector<uint64_t> tags(layout_.layers);
  for (const auto& row : work.rows) {
    for (uint32_t layer = 0; layer < layout_.layers; ++layer) {
      auto blocks = layer_of(row.blocks, row.position + 1, layer);
      tags[layer] = options_.model.tag(sum_before(blocks, row.position), row.token, row.position, layer);
      write(blocks[row.position / layout_.block_tokens], row.position, tags[layer]);
    }
    result.push_back(options_.model.next(tags, row.sample));
  }
  return result;
}

std::vector<token_id> sim_stream::sample(const kernels::prefill_work& work) {
  std::vector<token_id> result;
  if (work.samples.empty())
    return result;
  for (const auto& request : work.samples)
    result.push_back(options_.model.choose(passing_.back().word, request));
  return result;
}

} // namespace perigee::sim
