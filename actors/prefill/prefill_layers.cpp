// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/prefill_core.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

// A prompt that is computed layer by layer: the stream takes all its tokens through one layer, then through the next. A
// layer leaves for decode, and for the shard beside this instance, while the next one is computed, and the one after
// that gets its places. So a few layers of its blocks are here at a time, and no whole block but those of its prefix.
// Nobody waits for it: as long as its layers cannot leave, because decode has not granted slots yet or the network is
// slow, the device is free for others.

namespace perigee {

namespace {

constexpr auto chunks_an_item = 4u; // The device must answer, and others may wait: an item takes no longer than these.
constexpr auto passages_max = 8u;   // under way; the stream would take more
static_assert(passages_max < kernels::stream_passages_max);

} // namespace

/// Whether the attempt, of which `planned` blocks are to be had from shards, is worth it, and all it needs is there.
bool prefill_core::may_go_by_layer(const attempt& next, uint32_t planned) const {
  const auto& layout = options_.layout;
  auto fresh = next.job.tokens.size() - std::min<size_t>(next.job.tokens.size(), planned * layout.block_tokens);
  // Blocks that go to a shard of another node would have to be fenced there whenever a client leaves.
  return options_.by_layer && layer_ring::pays(layout.layers) && next.job.group.others.empty()
         && fresh > options_.chunk_tokens && fresh <= uint64_t{options_.chunk_tokens} * layout.layers * chunks_an_item
         && (!options_.keep_generated || local_shard_);
}

/// What it needs before its prefix is fetched: whole slots for what is to be fetched, or all, and its ring.
bool prefill_core::take_slots(attempt& next) {
  const auto& layout = options_.layout;
  auto blocks = layout.blocks_for(static_cast<uint32_t>(next.job.tokens.size()));
  auto planned = size_t{0};
  for (const auto& segment : next.job.prefix)
    planned += segment.blocks;
  planned = std::min(planned, next.keys.size());
  next.by_layer = may_go_by_layer(next, static_cast<uint32_t>(planned));
  auto whole = blocks;
  auto ring = 0u;
  if (next.by_layer) {
    // What the plan does not know of is asked of the local shard, which lends it, or needs to be given room.
    whole = static_cast<uint32_t>(options_.lent || !local_shard_ ? planned : next.keys.size());
    ring = layer_ring::slots_for(blocks - whole, layout.layers);
  }
  auto slots = pool_.take(whole + ring, slot_state::live);
  if (!slots)
    return false;
  next.slots = std::move(*slots);
  next.ring_slots.assign(next.slots.begin() + whole, next.slots.end());
  next.slots.resize(whole);
  next.slots.resize(blocks, no_slot);
  return true;
}

/// The prefix is here: what was not fetched needs no whole slots, or all of it if little is left to be computed.
void prefill_core::settle_slots(attempt& next) {
  const auto& layout = options_.layout;
  auto blocks = static_cast<uint32_t>(next.slots.size());
  auto fresh = blocks - next.fetched;
  auto spare = std::exchange(next.ring_slots, {});
  for (auto slot = next.slots.begin() + next.fetched; slot != next.slots.end(); ++slot)
    if (auto unused = std::exchange(*slot, no_slot); unused != no_slot)
      spare.push_back(unused);
  auto needs = layer_ring::slots_for(fresh, layout.layers);
  assert(spare.size() >= needs);
  if (next.job.tokens.size() - next.reused <= options_.chunk_tokens) {
    auto more = fresh > spare.size() ? pool_.take(fresh - static_cast<uint32_t>(spare.size()), slot_state::live)
                                     : std::optional{std::vector<uint32_t>{}};
    if (more) {
      marker("prefill: little left for going by layer");
      next.by_layer = false;
      needs = 0;
      spare.insert(spare.end(), more->begin(), more->end());
      std::copy_n(spare.end() - fresh, fresh, next.slots.begin() + next.fetched);
      spare.resize(spare.size() - fresh);
    }
  }
  for (; spare.size() > needs; spare.pop_back())
    pool_.drop_ref(spare.back());
  next.ring_slots = std::move(spare);
  if (next.by_layer)
    next.layered = layered_part{layer_ring{next.ring_slots, fresh, layout.layers}, 0, 0, 0, {}};
}

/// `passing`: those that have begun. Of as many tokens as fill the pool the stream keeps what is between two layers.
bool prefill_core::may_begin_layers(const attempt& next, load passing) const {
  return passing.prompts < passages_max
         && passing.tokens + next.job.tokens.size() <= uint64_t{options_.slots} * options_.layout.block_tokens;
}

/// As work names it.
uint32_t prefill_core::place_of(const attempt& next, uint32_t block, uint32_t layer) const {
  auto slot = next.slots[block];
  return slot == no_slot ? next.layered->ring.place(layer, block - next.fetched) : slot * options_.layout.layers + layer;
}

/// Bytes from the beginning of its memory, the pool or what is lent.
uint64_t prefill_core::offset_of(const attempt& next, uint32_t block, uint32_t layer) const {
  const auto& layout = options_.layout;
  auto slot = next.slots[block];
  if (slot == no_slot)
    return place_of(next, block, layer) * layout.layer_bytes;
  return layout.offset(is_lent(slot) ? slot - options_.lent->slot_first : slot, layer);
}

void prefill_core::run_layer(attempt& next, uint64_t now_ns) {
  const auto& layout = options_.layout;
  auto& mine = *next.layered;
  auto layer = mine.layer++;
  auto id = ++numbers_;
  if (layer == 0) {
    marker("prefill: goes by layer");
    mine.passage = id;
    offer_in_parts(next);
  }
  auto tokens = static_cast<uint32_t>(next.job.tokens.size());
  auto work = layer_work(id, mine.passage, layer, next.reused, next.job.tokens, layout, next.job.gen,
                         [&](uint32_t block) { return place_of(next, block, layer); });
  mine.ring.claim(layer);
  auto chunk = prompt_chunk{next.reused, tokens, next.fetched, layout.blocks_for(tokens), mine.layer == layout.layers};
  next.submitted = next.reused + static_cast<uint32_t>(uint64_t{tokens - next.reused} * mine.layer / layout.layers);
  next.work.insert(id);
  by_work_[id] = {next.job.id, chunk, layer, 0, now_ns};
  local.push_back(run_prefill{std::move(work), std::exchange(written_, {})});
}

/// It leaves to both, and to neither at once.
void prefill_core::layer_computed(attempt& next, uint32_t layer) {
  next.layered->ring.claim(layer); // until it has been written to decode
  if (next.publishing)
    send_part(next, layer);
}

/// Before the first layer is computed the shard makes room for the blocks.
void prefill_core::offer_in_parts(attempt& next) {
  auto first = first_offered(next);
  auto last = static_cast<uint32_t>(next.keys.size());
  if (first >= last)
    return; // Others are told of that at the end.
  next.publishing = true;
  next.layered->offered = first;
  auto offered = std::vector<uint32_t>(next.slots.begin() + first, next.slots.begin() + last);
  for (auto& slot : offered)
    slot = is_lent(slot) ? no_slot : 0;
  auto order = publish{next.publish_id(), {next.keys.begin() + first, next.keys.end()}, std::move(offered)};
  order.in_parts = true;
  local.push_back(std::move(order));
}

void prefill_core::send_part(attempt& next, uint32_t layer) {
  const auto& layout = options_.layout;
  next.layered->ring.claim(layer);
  auto part = publish_part{next.publish_id(), layer * layout.layer_bytes, layout.layer_bytes, {}};
  for (auto block = next.layered->offered; block < next.keys.size(); ++block)
    part.places.push_back(offset_of(next, block, layer));
  local.push_back(std::move(part));
}

void prefill_core::on(uint64_t now_ns, const part_published& answer) {
  auto* next = find_number(attempt::number_of(answer.id));
  if (!next || !next->layered)
    return;
  next->layered->ring.release(static_cast<uint32_t>(answer.offset / options_.layout.layer_bytes));
  advance(now_ns);
}

} // namespace perigee
