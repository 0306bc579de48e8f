// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay_stream.hpp"

#include <algorithm>
#include <cassert>

namespace perigee::sim {

namespace {

constexpr size_t queue_max = 64;

uint64_t to_ns(double seconds) {
  return static_cast<uint64_t>(seconds * 1e9 + 0.5);
}

} // namespace

uint64_t replay_stream::item::id() const {
  return std::visit([](const auto& what) { return what.id; }, work);
}

replay_stream::replay_stream(world& home, replay_stream_options options, uint64_t seed, kernels::stream_events& events)
  : home_(home), options_(std::move(options)), random_(seed), events_(events),
    pool_(std::make_unique_for_overwrite<std::byte[]>(options_.slots * options_.layout.block_bytes())),
    ready_ns_(options_.slots) {
  if (options_.machine)
    options_.machine->add(this);
}

void replay_stream::submit(kernels::prefill_work work) {
  enqueue(std::move(work));
}

void replay_stream::submit(kernels::decode_work work) {
  enqueue(std::move(work));
}

void replay_stream::submit(kernels::copy_work work) {
  enqueue(std::move(work));
}

template <class Work>
void replay_stream::enqueue(Work work) {
  if (queue_.size() >= queue_max)
    queue_.push_back({refused{work.id, {errc::exhausted, "the stream's queue holds 64 items; allowed: 64"}}});
  else
    queue_.push_back({std::move(work)});
  if (queue_.size() == 1)
    begin();
}

void replay_stream::cancel(uint64_t id) {
  for (auto& waiting : queue_)
    if (waiting.id() == id)
      waiting.cancelled = true;
}

uint64_t replay_stream::ready_ns(const std::byte* place) const {
  auto offset = static_cast<uint64_t>(place - pool_.get());
  return ready_ns_[offset / options_.layout.block_bytes()];
}

void replay_stream::begin() {
  if (!options_.turn || options_.turn->take(this))
    run();
}

/// Starts the first item of the queue. One runs at a time.
void replay_stream::run() {
  const auto& next = queue_.front();
  began_ns_ = home_.now();
  auto takes = uint64_t{0};
  if (!next.cancelled) {
    if (const auto* prefill = std::get_if<kernels::prefill_work>(&next.work))
      takes = start(*prefill);
    else if (const auto* step = std::get_if<kernels::decode_work>(&next.work))
      takes = start(*step);
  }
  left_ns_ = static_cast<double>(takes);
  since_ns_ = began_ns_;
  computes_ = true;
  go_on();
  if (options_.machine)
    options_.machine->set(this, true);
}

double replay_stream::pace() const {
  return options_.machine && options_.machine->busy_beside(this) ? options_.together : 1;
}

/// From now on the rest takes what the pace says.
void replay_stream::go_on() {
  pace_ = pace();
  home_.alarm(static_cast<uint64_t>(left_ns_ * pace_ + 0.5), *this, alarms_);
}

void replay_stream::change_pace() {
  if (!computes_ || pace() == pace_)
    return;
  left_ns_ = std::max(0.0, left_ns_ - static_cast<double>(home_.now() - since_ns_) / pace_);
  since_ns_ = home_.now();
  ++alarms_;
  go_on();
}

uint64_t replay_stream::start(const kernels::prefill_work& work) {
  const auto& costs = options_.costs;
  auto first = static_cast<double>(work.start);
  auto tokens = static_cast<double>(work.tokens.size());
  auto end = first + tokens;
  auto seconds = costs.prefill_token * tokens + costs.prefill_square * (end * end - first * first);
  auto& progress = prompts_[work.blocks.front()];
  auto fresh = work.start == 0 || progress.end != work.start;
  if (fresh) {
    progress.factor = options_.prefill_noise.empty() ? 1 : options_.prefill_noise[random_.below(options_.prefill_noise.size())];
    totals_.prefills += work.layers.first == 0;
  }
  if (fresh || options_.chunks_alone)
    seconds += costs.prefill_constant + costs.prefill_reused * first;
  progress.end = work.start + static_cast<uint32_t>(work.tokens.size());
  auto layers = options_.layout.layers;
  auto share = static_cast<double>(work.layers.end_of(layers) - work.layers.first) / layers;
  auto takes = to_ns(seconds * progress.factor * share);
  if (!work.samples.empty())
    prompts_.erase(work.blocks.front());
  if (options_.recorder != nullptr)
    options_.recorder->chunk(options_.instance, work.blocks.front(), fresh, home_.now(), home_.now() + takes, work.tokens.size(),
                             work.samples.empty() ? std::nullopt : std::optional{work.samples.front().params.seed});
  totals_.computed_tokens += work.layers.first == 0 ? work.tokens.size() : 0;
  totals_.prefill_ns += takes;
  for (auto block = work.start / options_.layout.block_tokens; block < work.blocks.size(); ++block)
    ready_ns_[work.blocks[block]] = home_.now() + takes;
  events_.layer_done(work.id, work.layers.end_of(layers) - 1);
  return takes;
}

uint64_t replay_stream::start(const kernels::decode_work& work) {
  const auto& costs = options_.costs;
  auto context = uint64_t{0};
  for (const auto& row : work.rows)
    context += row.position + 1;
  auto takes = to_ns(costs.step_constant + costs.step_row * static_cast<double>(work.rows.size())
                     + costs.step_context_token * static_cast<double>(context));
  if (options_.recorder != nullptr)
    options_.recorder->step(options_.instance, home_.now(), home_.now() + takes, static_cast<uint32_t>(work.rows.size()));
  ++totals_.steps;
  totals_.rows += work.rows.size();
  totals_.step_ns += takes;
  return takes;
}

void replay_stream::on_alarm(uint64_t alarm) {
  if (alarm != alarms_)
    return;
  computes_ = false;
  if (options_.machine)
    options_.machine->set(this, false);
  auto done = std::move(queue_.front());
  queue_.pop_front();
  kernels::work_result result;
  result.id = done.id();
  result.busy_ns = home_.now() - began_ns_;
  if (const auto* no = std::get_if<refused>(&done.work))
    result.outcome = no->why;
  else if (done.cancelled)
    result.outcome = {errc::cancelled, "cancelled"};
  else if (const auto* prefill = std::get_if<kernels::prefill_work>(&done.work))
    for (const auto& sample : prefill->samples)
      result.tokens.push_back(next_token(sample));
  else if (const auto* step = std::get_if<kernels::decode_work>(&done.work)) {
    result.tokens.reserve(step->rows.size());
    for (const auto& row : step->rows)
      result.tokens.push_back(next_token(row.sample));
  }
  if (options_.turn)
    options_.turn->release();
  if (!queue_.empty())
    begin();
  events_.work_done(std::move(result));
}

/// The last token of a request is the end token, whether anybody looks for it or not.
token_id replay_stream::next_token(const kernels::sample_request& sample) const {
  auto all = options_.output_tokens->at(sample.params.seed);
  return sample.generated + 1 >= all ? replay_end_token : replay_end_token + 1;
}

} // namespace perigee::sim
