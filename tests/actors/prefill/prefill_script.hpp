// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/prefill/prefill_core.hpp"
#include "tests/actors/core_script.hpp"

#include <numeric>

namespace perigee::testing {

/// A prefill core with its store client, transport and stream played by the test: 2 layers, blocks of 4 tokens, chunks
/// of 8.
struct prefill_script : core_script<prefill_core> {
  explicit prefill_script(uint32_t slots = 8, uint32_t queue_max = 4, bool keep = true)
    : prefill_script(options_for(slots, queue_max, keep)) {}

  explicit prefill_script(const prefill_options& options) : core_script(options), layers(options.layout.layers) {}

  static prefill_options options_for(uint32_t slots, uint32_t queue_max, bool keep) {
    auto options = prefill_options{};
    options.self = the_prefill;
    options.layout = {2, 4, 64};
    options.slots = slots;
    options.region = 3;
    options.remote = {3, 0, 1 << 20};
    options.activation_bytes_block = 64; // As much as a layer.
    options.local_shard = local_shard.index;
    options.chunk_tokens = 8;
    options.queue_max = queue_max;
    options.keep_generated = keep;
    return options;
  }

  /// Tokens are `first`, `first` + 1, ...: equal `first` means equal prefix.
  static prefill_job job(uint64_t number, uint32_t tokens, uint32_t attempt = 0, token_id first = 1) {
    auto made = prefill_job{};
    made.from = the_session;
    made.id = ticket_of(number, attempt);
    made.term = the_conductor.incarnation;
    made.placement = number;
    made.decode = the_decode;
    made.tokens = tokens_from(first, tokens);
    made.keys = chain_keys(root_key("model", ""), made.tokens, 4);
    made.root = root_key("model", "");
    made.keys = chain_keys(made.root, made.tokens, 4);
    made.gen.sampling.stop_ids = {end_token};
    made.gen.prompt_tokens = tokens;
    made.gen.max_tokens = 100;
    made.gen.choices = {{0, 0}};
    made.deadline_ns = 60'000 * ms;
    return made;
  }

  /// The same, computed together with `other_prefill`, which runs the first layer.
  static prefill_job grouped_job(uint64_t number, uint32_t tokens) {
    auto made = job(number, tokens);
    made.group = {{other_prefill}, 8};
    return made;
  }

  /// What `other_prefill` as the head of that group asks the first stage.
  static stage_job stage_of(const prefill_job& what) {
    auto made = stage_job{};
    made.from = other_prefill;
    made.id = what.id;
    made.stages = 2;
    made.chunk_tokens = 8;
    made.tokens = what.tokens;
    made.deadline_ns = what.deadline_ns;
    return made;
  }

  /// Where somebody is to write that job's blocks.
  static write_target target(const address& who, const prefill_job& what) {
    auto made = write_target{who, {8, 0, 1 << 20}, {}, {}};
    made.slots.resize(blocks_of(what));
    std::iota(made.slots.begin(), made.slots.end(), 50);
    made.immediates.resize(who.kind == role::decode ? 1 : chunks_max(static_cast<uint32_t>(what.tokens.size()), 8));
    std::iota(made.immediates.begin(), made.immediates.end(), 900);
    return made;
  }

  template <class Message>
  std::vector<Message> take_local() {
    return take_of<Message>(core.local);
  }

  template <class Message>
  Message only_local() {
    auto found = take_local<Message>();
    REQUIRE_EQ(found.size(), 1);
    return found[0];
  }

  /// The device finishes one item, layer by layer.
  void finish(const kernels::prefill_work& work, std::vector<token_id> tokens = {}) {
    for (auto layer = work.layers.first; layer < work.layers.end_of(layers); ++layer)
      tell(layer_done{work.id, layer});
    if (!work.samples.empty() && tokens.empty())
      tokens.assign(work.samples.size(), 500);
    tell(done(work.id, std::move(tokens)));
  }

  /// The device finishes everything it is given; each choice's first token is `token`.
  void compute(token_id token = 500) {
    for (auto items = take_local<run_prefill>(); !items.empty(); items = take_local<run_prefill>())
      for (const auto& item : items)
        finish(item.work, std::vector<token_id>(item.work.samples.size(), token));
  }

  void grant(const ticket& id, uint32_t blocks, const address& by = the_decode, bool tells_first = false) {
    auto slots = std::vector<uint32_t>(blocks);
    std::iota(slots.begin(), slots.end(), 100);
    tell(granted{by, id, {8, 0, 1 << 20}, std::move(slots), 55, tells_first});
  }

  /// The transport ends everything it was asked to do; returns how many transfers.
  uint32_t move_all(errc code = errc::none) {
    auto count = 0u;
    for (const auto& work : take_local<move_blocks>()) {
      tell(ended_move(work.id, code));
      ++count;
    }
    return count;
  }

  /// Publishes end, with everything stored.
  void publish_all() {
    for (const auto& work : take_local<publish>())
      tell(published{work.id, static_cast<uint32_t>(work.keys.size())});
  }

  /// One job from arrival to the announcement, granted at once.
  void hand_over(const prefill_job& what) {
    tell(what);
    compute();
    grant(what.id, blocks_of(what));
  }

  static uint32_t blocks_of(const prefill_job& what) {
    return static_cast<uint32_t>((what.tokens.size() + 3) / 4);
  }

  uint32_t free_slots() const {
    return core.pool().count(slot_state::free);
  }

  /// Nothing is held: no attempt, no slot.
  bool empty() const {
    return core.attempts() == 0 && free_slots() == core.pool().capacity() && core.pool().check();
  }

  uint32_t layers;
};

} // namespace perigee::testing
