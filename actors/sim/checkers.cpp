// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/checkers.hpp"

#include <cstring>

namespace perigee::sim {

namespace {

constexpr size_t problems_max = 20;
constexpr uint64_t pools_every = 61; ///< instants
constexpr uint64_t content_every = 1009;

std::string named(role kind, uint32_t index) {
  return name_of(address{kind, index, 0, 1});
}

} // namespace

checkers::checkers(cluster& target, const traffic& clients) : target_(target), clients_(clients) {
  target_.home().on_instant([this] { instant(); });
  target_.on_landing([this](role kind, uint32_t index, uint32_t slot) { landing(kind, index, slot); });
}

void checkers::instant() {
  ++instants_;
  if (instants_ % pools_every == 0)
    check_pools();
  if (instants_ % content_every == 0)
    for (uint32_t shard = 0; shard < target_.options().shards; ++shard)
      check_content(shard);
}

const block_pool* checkers::pool_of(role kind, uint32_t index) const {
  if (kind == role::prefill) {
    const auto* core = target_.prefill_state_of(index);
    return core == nullptr ? nullptr : &core->pool();
  }
  if (kind == role::decode) {
    const auto* core = target_.decode_state_of(index);
    return core == nullptr ? nullptr : &core->pool();
  }
  const auto* core = target_.shard_state_of(index);
  return core == nullptr ? nullptr : &core->index().pool();
}

void checkers::check_pools() {
  const auto& options = target_.options();
  auto check = [this](role kind, uint32_t count) {
    for (uint32_t index = 0; index < count; ++index)
      if (const auto* pool = pool_of(kind, index); pool != nullptr && !pool->check())
        problem("I1: the pool of " + named(kind, index) + " does not add up");
  };
  check(role::prefill, options.prefills);
  check(role::decode, options.decodes);
  check(role::shard, options.shards);
  for (uint32_t index = 0; index < options.shards; ++index)
    if (const auto* core = target_.shard_state_of(index); core != nullptr && !core->check())
      problem("I1, I5: the accounts of " + named(role::shard, index) + " do not add up");
}

/// I2: nothing is written into a slot that is free, or that holds what others may read already.
void checkers::landing(role kind, uint32_t index, uint32_t slot) {
  ++writes_seen_;
  const auto* pool = pool_of(kind, index);
  if (pool == nullptr)
    return;
  auto state = pool->state(slot);
  if (state == slot_state::free)
    problem("I2: a write lands in slot " + std::to_string(slot) + " of " + named(kind, index) + ", which is free, at "
            + std::to_string(target_.home().now()) + " ns");
  if (kind == role::shard && state == slot_state::live)
    problem("I2: a write lands in slot " + std::to_string(slot) + " of " + named(kind, index)
            + ", which is visible, at " + std::to_string(target_.home().now()) + " ns");
}

void checkers::check_content(uint32_t shard) {
  const auto* core = target_.shard_state_of(shard);
  if (core == nullptr)
    return;
  auto memory = target_.shard_memory(shard);
  auto block_bytes = target_.options().model.layout().block_bytes();
  for (auto key = core->index().next(std::nullopt); key; key = core->index().next(key)) {
    auto slot = *core->index().find(*key);
    const auto* expected = clients_.block_content(*key);
    ++blocks_compared_;
    if (expected == nullptr)
      problem("I4: " + named(role::shard, shard) + " holds " + to_string(*key) + ", which no request has");
    else if (std::memcmp(memory.data() + slot * block_bytes, expected->data(), block_bytes) != 0)
      problem("I4: slot " + std::to_string(slot) + " of " + named(role::shard, shard) + " does not hold "
              + to_string(*key) + " at " + std::to_string(target_.home().now()) + " ns");
  }
}

void checkers::check_mismatches() {
  auto check = [this](role kind, uint32_t index, const sim_stream* stream) {
    if (stream != nullptr && stream->mismatches() > 0)
      problem("I4: " + named(kind, index) + " read " + std::to_string(stream->mismatches())
              + " tags that no request can have written");
  };
  for (uint32_t index = 0; index < target_.options().prefills; ++index)
    check(role::prefill, index, target_.prefill_stream(index));
  for (uint32_t index = 0; index < target_.options().decodes; ++index)
    check(role::decode, index, target_.decode_stream(index));
}

void checkers::check_index() {
  const auto* conductor = target_.conductor_state_of();
  if (conductor == nullptr)
    return;
  for (uint32_t shard = 0; shard < target_.options().shards; ++shard) {
    const auto* core = target_.shard_state_of(shard);
    if (core == nullptr)
      continue;
    if (conductor->index().blocks_of(shard) != core->index().size())
      problem("I7: the index has " + std::to_string(conductor->index().blocks_of(shard)) + " blocks of "
              + named(role::shard, shard) + ", which holds " + std::to_string(core->index().size()));
    for (auto key = core->index().next(std::nullopt); key; key = core->index().next(key))
      if (!conductor->index().holds(*key, shard))
        problem("I7: the index does not know that " + named(role::shard, shard) + " holds " + to_string(*key));
  }
}

void checkers::check_books() {
  const auto& options = target_.options();
  auto empty = [this](role kind, uint32_t index, size_t attempts) {
    if (attempts != 0)
      problem("I5: " + named(kind, index) + " still has " + std::to_string(attempts) + " attempts");
    const auto* pool = pool_of(kind, index);
    if (pool->count(slot_state::free) != pool->capacity())
      problem("I5: of " + std::to_string(pool->capacity()) + " slots of " + named(kind, index) + " only "
              + std::to_string(pool->count(slot_state::free)) + " are free");
  };
  for (uint32_t index = 0; index < options.prefills; ++index)
    if (const auto* core = target_.prefill_state_of(index))
      empty(role::prefill, index, core->attempts());
  for (uint32_t index = 0; index < options.decodes; ++index)
    if (const auto* core = target_.decode_state_of(index))
      empty(role::decode, index, core->attempts());
  for (uint32_t index = 0; index < options.shards; ++index)
    if (const auto* core = target_.shard_state_of(index)) {
      const auto& pool = core->index().pool();
      if (pool.count(slot_state::transfer) + pool.count(slot_state::reserved) != 0)
        problem("I5: " + named(role::shard, index) + " still has slots in transfer");
      for (uint32_t slot = 0; slot < pool.capacity(); ++slot)
        if (pool.refs(slot) > 1)
          problem("I5: slot " + std::to_string(slot) + " of " + named(role::shard, index) + " is still pinned");
    }
  for (uint32_t index = 0; index < options.gateways; ++index)
    if (const auto* core = target_.session_state_of(index); core != nullptr && !core->idle())
      problem("I5: " + named(role::session, index) + " is not idle");
  if (const auto* conductor = target_.conductor_state_of()) {
    if (conductor->requests() != 0)
      problem("I5: the Conductor still has " + std::to_string(conductor->requests()) + " requests");
    if (!conductor->ledger().placements().empty())
      problem("I5: the Conductor's books still have " + std::to_string(conductor->ledger().placements().size())
              + " placements");
    for (const auto& [place, member] : conductor->ledger().members())
      if (member.tokens != 0 || member.open != 0)
        problem("I5: the Conductor's books still have " + std::to_string(member.tokens) + " tokens reserved at "
                + name_of(member.who));
  }
}

void checkers::quiet() {
  check_pools();
  for (uint32_t shard = 0; shard < target_.options().shards; ++shard)
    check_content(shard);
  check_mismatches();
  check_index();
  check_books();
}

void checkers::problem(std::string what) {
  if (problems_.size() < problems_max)
    problems_.push_back(std::move(what));
}

} // namespace perigee::sim
