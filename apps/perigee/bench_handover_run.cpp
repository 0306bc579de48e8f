// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_handover_run.hpp"

#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/layer_ring.hpp"
#include "kernels/cpu/cpu_stream.hpp"
#include "kernels/sampler.hpp"
#include "transport/bench_far_pool.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"
#include "transport/local/local_fabric.hpp"
#include "transport/pool_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <variant>

namespace perigee::cli {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto items_max = 2u; // as many as a prefill instance gives its stream: one runs, the next waits
constexpr auto patience = std::chrono::seconds{600};

enum class way { none, by_chunk, by_layer, at_end };

struct layer_computed {
  uint64_t id = 0;
  uint32_t layer = 0;
};
struct item_computed {
  kernels::work_result result;
};
struct written {
  uint64_t id = 0;
  status outcome;
};
struct event {
  clock::time_point at;
  std::variant<layer_computed, item_computed, written> what;
};

/// What stream and fabric tell, for one thread that takes it as an actor takes its messages.
class event_queue final : public kernels::stream_events, public transport::fabric_events {
public:
  void layer_done(uint64_t id, uint32_t layer) override {
    push({clock::now(), layer_computed{id, layer}});
  }
  void work_done(kernels::work_result result) override {
    push({clock::now(), item_computed{std::move(result)}});
  }
  void completed(uint64_t id, status result, uint64_t) override {
    push({clock::now(), written{id, std::move(result)}});
  }
  void arrived(transport::peer_id, uint32_t) override {}
  void fenced(transport::peer_id) override {}

  event next() {
    auto lock = std::unique_lock{mutex_};
    if (!changed_.wait_for(lock, patience, [&] { return !events_.empty(); }))
      throw failure{errc::timed_out, fmt::format("neither stream nor fabric said anything for {} s", patience.count())};
    auto first = std::move(events_.front());
    events_.pop_front();
    return first;
  }

private:
  void push(event news) {
    auto lock = std::lock_guard{mutex_};
    events_.push_back(std::move(news));
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<event> events_; // guarded by mutex_
};

/// Where KV goes to: the same slots of a pool as large.
class destination {
public:
  destination(const handover_options& options, uint64_t bytes) {
    form_.immediate = 1; // as a hand-over's writes have one, though nobody counts them
    if (options.provider == "local")
      pool_ = transport::pool_memory{bytes};
    else
      far_.emplace(transport::far_pool::place{options.provider, options.host}, bytes,
                   [](transport::stream_socket& control, std::span<std::byte>) { control.receive_word(); });
  }

  /// A fabric of this process that reaches it. Once.
  std::unique_ptr<transport::fabric> open(const handover_options& options, event_queue& events) {
    if (!far_) {
      auto own = transport::make_local_fabric(transport::make_local_network(), events);
      form_.remote = own->remote(own->register_memory(pool_.bytes()));
      return own;
    }
    auto own = transport::make_libfabric({.provider = options.provider, .host = options.host}, events);
    form_.peer = own->open_peer("bench");
    form_.remote = far_->connect(*own, form_.peer);
    return own;
  }

  /// A write of nothing yet.
  const transport::transfer& form() const noexcept {
    return form_;
  }
  /// Nothing where it is in another process.
  std::span<const std::byte> bytes() const noexcept {
    return pool_.bytes();
  }

private:
  transport::pool_memory pool_;
  std::optional<transport::far_pool> far_;
  transport::transfer form_;
};

/// One prefill of a prompt, and where its KV goes meanwhile or afterwards.
class prefill_run {
public:
  /// `form`: of its writes.
  prefill_run(kernels::stream& stream, transport::fabric& fabric, transport::transfer form, event_queue& events,
              uint32_t chunk_tokens)
    : stream_(stream), fabric_(fabric), form_(std::move(form)), events_(events), chunk_tokens_(chunk_tokens),
      layout_(stream.layout()) {}

  handover_figure run(const std::vector<token_id>& tokens, way how) {
    how_ = how;
    began_ = clock::now();
    tokens_ = tokens;
    auto blocks = layout_.blocks_for(total());
    slots_.resize(how == way::by_layer ? layer_ring::slots_for(blocks, layout_.layers) : blocks);
    std::iota(slots_.begin(), slots_.end(), 0u);
    if (how == way::by_layer)
      ring_.emplace(slots_, blocks, layout_.layers);
    auto result = handover_figure{};
    auto ready_s = 0.0;
    do {
      while (items_.size() < items_max && submit_next())
        ;
      auto news = events_.next();
      ready_s = std::chrono::duration<double>(news.at - began_).count();
      std::visit([&](auto& what) { on(ready_s, what, result); }, news.what);
    } while (result.prefill_s == 0 || !writes_.empty());
    result.tail_s = ready_s - result.prefill_s;
    result.slot_byte_s = ready_s * static_cast<double>(slots_.size() * layout_.block_bytes());
    if (how == way::by_layer)
      result.kept_byte_s = result.prefill_s * static_cast<double>(blocks * stream_.activation_bytes_block());
    result.unsent_byte_s = unsent_.total();
    return result;
  }

  /// After a run by layer: where in the pool the layer of that block is, of the last few.
  uint64_t source_of(uint32_t block, uint32_t layer) const {
    return ring_ ? ring_->place(layer, block) * layout_.layer_bytes : layout_.offset(slots_[block], layer);
  }

private:
  struct open_item {
    prompt_chunk chunk;
    uint32_t layer_next = 0; // the first that has not been reported
  };
  struct open_write {
    uint64_t bytes = 0;
    uint32_t layer = 0; // the first of them
  };

  uint32_t total() const {
    return static_cast<uint32_t>(tokens_.size());
  }

  /// Whether there was something that can be computed now.
  bool submit_next() {
    auto work = kernels::prefill_work{};
    auto chunk = prompt_chunk{0, total(), 0, layout_.blocks_for(total()), layer_ + 1 == layout_.layers};
    auto id = numbers_ + 1;
    if (ring_) {
      if (layer_ == layout_.layers || !ring_->is_free(layer_))
        return false;
      if (layer_ == 0)
        passage_ = id;
      work = layer_work(id, passage_, layer_, 0, tokens_, layout_, gen_,
                        [&](uint32_t block) { return ring_->place(layer_, block); });
      ring_->claim(layer_++);
    } else {
      if (submitted_ == total())
        return false;
      chunk = next_chunk(submitted_, total(), chunk_tokens_, layout_);
      work = chunk_work(id, chunk, tokens_, slots_, gen_);
      submitted_ = chunk.end;
    }
    numbers_ = id;
    items_[id] = {chunk, work.layers.first};
    stream_.submit(std::move(work));
    return true;
  }

  void on(double now_s, const layer_computed& news, handover_figure&) {
    auto& [chunk, layer_next] = items_.at(news.id);
    const auto layers = kernels::layer_span{layer_next, news.layer + 1};
    layer_next = news.layer + 1;
    if (how_ == way::none)
      return;
    unsent_.take(now_s, bytes_of(chunk, layers));
    if (how_ != way::at_end)
      write(chunk, layers);
  }

  void on(double now_s, const item_computed& news, handover_figure& result) {
    if (!news.result.outcome.ok())
      throw failure{news.result.outcome.code, news.result.outcome.context};
    auto [chunk, layer_next] = items_.at(news.result.id);
    computed_.push_back(chunk);
    items_.erase(news.result.id);
    if (ring_)
      ring_->release(layer_next - 1);
    if (!chunk.last)
      return;
    result.prefill_s = now_s;
    if (how_ == way::at_end)
      for (const auto& part : computed_)
        write(part, {0, layout_.layers});
  }

  void on(double now_s, const written& news, handover_figure&) {
    if (!news.outcome.ok())
      throw failure{news.outcome.code, news.outcome.context};
    auto at = writes_.find(news.id);
    unsent_.give_back(now_s, at->second.bytes);
    if (ring_)
      ring_->release(at->second.layer);
    writes_.erase(at);
  }

  uint64_t bytes_of(const prompt_chunk& chunk, kernels::layer_span layers) const {
    return (chunk.block_last - chunk.block_first) * (layers.end - layers.first) * layout_.layer_bytes;
  }

  void write(const prompt_chunk& chunk, kernels::layer_span layers) {
    auto move = form_;
    move.id = ++numbers_;
    for (auto block = chunk.block_first; block < chunk.block_last; ++block)
      move.pieces.push_back({source_of(block, layers.first), layout_.offset(block, layers.first),
                             (layers.end - layers.first) * layout_.layer_bytes});
    writes_[move.id] = {bytes_of(chunk, layers), layers.first};
    if (ring_)
      ring_->claim(layers.first);
    fabric_.post(std::move(move));
  }

  static generation greedy() {
    auto gen = generation{};
    gen.choices.emplace_back();
    gen.sampling.temperature = 0;
    return gen;
  }

  kernels::stream& stream_;
  transport::fabric& fabric_;
  const transport::transfer form_;
  event_queue& events_;
  const uint32_t chunk_tokens_;
  const kernels::kv_layout layout_;
  const generation gen_ = greedy();
  shared_list<token_id> tokens_;
  std::vector<uint32_t> slots_;
  std::optional<layer_ring> ring_; // by layer
  uint64_t passage_ = 0;
  uint32_t layer_ = 0;     // the next, by layer
  uint32_t submitted_ = 0; // tokens, otherwise
  std::map<uint64_t, open_item> items_;
  std::vector<prompt_chunk> computed_;
  std::map<uint64_t, open_write> writes_;
  byte_seconds unsent_;
  way how_ = way::none;
  clock::time_point began_;
  uint64_t numbers_ = 0;
};

template <class Runs, class Value>
double median(const Runs& runs, Value value) {
  auto values = std::vector<double>{};
  for (const auto& run : runs)
    values.push_back(value(run));
  std::ranges::sort(values);
  return values[values.size() / 2];
}

handover_figure medians(const std::vector<handover_figure>& runs) {
  return {median(runs, [](const auto& run) { return run.prefill_s; }),
          median(runs, [](const auto& run) { return run.tail_s; }),
          median(runs, [](const auto& run) { return run.unsent_byte_s; }),
          median(runs, [](const auto& run) { return run.slot_byte_s; }),
          median(runs, [](const auto& run) { return run.kept_byte_s; })};
}

} // namespace

handover_result bench_handover(std::shared_ptr<const kernels::model> weights, const handover_options& options) {
  auto prompts = options.prompts;
  std::erase_if(prompts, [&](uint32_t tokens) { return tokens > weights->config().context; });
  if (prompts.empty())
    throw failure{errc::invalid_argument,
                  fmt::format("bench: no prompt fits the model's context of {} tokens", weights->config().context)};
  auto layout = weights->layout(options.block_tokens);
  auto slots = layout.blocks_for(*std::ranges::max_element(prompts));
  auto to = destination{options, slots * layout.block_bytes()}; // first: it may fork
  auto events = event_queue{};
  auto stream = kernels::make_cpu_stream(
    weights, {.slots = slots, .block_tokens = options.block_tokens, .threads = options.threads}, events);
  auto fabric = to.open(options, events); // last: its thread reads the stream's pool
  auto form = to.form();
  form.local = fabric->register_memory(stream->pool());
  auto result = handover_result{fabric->describe(), layout.block_bytes() / layout.block_tokens, {}};
  for (auto tokens : prompts) {
    auto prompt = std::vector<token_id>{};
    for (auto i = uint32_t{0}; i < tokens; ++i)
      prompt.push_back(static_cast<token_id>(kernels::random_word(1, 0, i) % weights->config().vocab));
    auto make = [&] { return prefill_run{*stream, *fabric, form, events, options.chunk_tokens}; };
    auto pass = [&](way how) { return make().run(prompt, how); };
    auto blocks = layout.blocks_for(tokens);
    for (auto how : {way::by_chunk, way::by_layer}) { // pages and connections are made
      auto first = make();
      first.run(prompt, how);
      for (auto block = uint32_t{0}; block < blocks && !to.bytes().empty(); ++block)
        for (auto layer = layout.layers - std::min(layout.layers, layer_ring::parts); layer < layout.layers; ++layer)
          if (std::memcmp(to.bytes().data() + layout.offset(block, layer),
                          stream->pool().data() + first.source_of(block, layer), layout.layer_bytes)
              != 0)
            throw failure{errc::corrupt, "other bytes arrived than were computed"};
    }
    auto runs = std::vector<std::array<handover_figure, 4>>{};
    for (auto run = uint32_t{0}; run < options.runs; ++run)
      runs.push_back({pass(way::none), pass(way::by_chunk), pass(way::by_layer), pass(way::at_end)});
    auto of = [&](way how) {
      auto out = std::vector<handover_figure>{};
      for (const auto& run : runs)
        out.push_back(run[static_cast<size_t>(how)]);
      return medians(out);
    };
    auto ratio = [&](auto what, way above, way below) {
      return median(runs, [&](const auto& run) {
        return what(run[static_cast<size_t>(above)]) / what(run[static_cast<size_t>(below)]);
      });
    };
    auto prefill_s = [](const handover_figure& figure) { return figure.prefill_s; };
    auto unsent = [](const handover_figure& figure) { return figure.unsent_byte_s; };
    auto slot = [](const handover_figure& figure) { return figure.slot_byte_s; };
    auto all = [](const handover_figure& figure) { return figure.slot_byte_s + figure.kept_byte_s; };
    auto row = handover_row{};
    row.tokens = tokens;
    row.kv_bytes = blocks * layout.block_bytes();
    row.none = of(way::none);
    row.by_chunk = of(way::by_chunk);
    row.by_layer = of(way::by_layer);
    row.at_end = of(way::at_end);
    row.by_chunk_cost = ratio(prefill_s, way::by_chunk, way::none) - 1;
    row.by_layer_cost = ratio(prefill_s, way::by_layer, way::none) - 1;
    row.at_end_cost = ratio(prefill_s, way::at_end, way::none) - 1;
    row.by_chunk_unsent_ratio = ratio(unsent, way::by_chunk, way::at_end);
    row.by_layer_unsent_ratio = ratio(unsent, way::by_layer, way::at_end);
    row.by_chunk_slot_ratio = ratio(slot, way::by_chunk, way::at_end);
    row.by_layer_slot_ratio = ratio(slot, way::by_layer, way::at_end);
    row.by_layer_kept_ratio = ratio(all, way::by_layer, way::at_end);
    result.rows.push_back(row);
  }
  return result;
}

} // namespace perigee::cli
