// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/quiet_checks.hpp"

#include <map>

namespace perigee::sim {

namespace {

std::string place_name(role kind, size_t index) {
  return name_of(address{kind, static_cast<uint32_t>(index), 0, 1});
}

/// Calls `check(name, core)` for each that lives.
template <class Core, class Check>
void for_each_living(role kind, const std::vector<const Core*>& cores, Check check) {
  for (size_t index = 0; index < cores.size(); ++index)
    if (cores[index] != nullptr)
      check(place_name(kind, index), *cores[index]);
}

void check_pool(const std::string& name, const block_pool& pool, const problem_sink& problem) {
  if (!pool.check())
    problem("I1: the pool of " + name + " does not add up");
}

template <class Core>
void check_instance(const std::string& name, const Core& core, const problem_sink& problem) {
  if (core.attempts() != 0)
    problem("I5: " + name + " still has " + std::to_string(core.attempts()) + " attempts");
  const auto& pool = core.pool();
  if (pool.count(slot_state::free) != pool.capacity())
    problem("I5: of " + std::to_string(pool.capacity()) + " slots of " + name + " only "
            + std::to_string(pool.count(slot_state::free)) + " are free");
}

void check_shard(const std::string& name, const shard_core& core, const problem_sink& problem) {
  const auto& pool = core.index().pool();
  if (pool.count(slot_state::transfer) + pool.count(slot_state::reserved) != 0)
    problem("I5: " + name + " still has slots in transfer");
  for (uint32_t slot = 0; slot < pool.capacity(); ++slot)
    if (pool.refs(slot) > 1)
      problem("I5: slot " + std::to_string(slot) + " of " + name + " is still pinned");
}

/// Adds how many attempts read which slots of which shard in place.
template <class Core>
void count_lent(const std::vector<const Core*>& cores, const std::vector<const shard_core*>& shards,
                std::vector<std::map<uint32_t, uint32_t>>& readers) {
  for (const auto* core : cores)
    if (core != nullptr)
      core->each_lent([&](uint32_t shard, uint32_t slot) {
        if (shard < shards.size() && shards[shard] != nullptr)
          ++readers[shard][slot];
      });
}

} // namespace

void check_accounts(const cluster_cores& cores, const problem_sink& problem) {
  for_each_living(role::prefill, cores.prefills,
                  [&](const std::string& name, const prefill_core& core) { check_pool(name, core.pool(), problem); });
  for_each_living(role::decode, cores.decodes,
                  [&](const std::string& name, const decode_core& core) { check_pool(name, core.pool(), problem); });
  for_each_living(role::shard, cores.shards, [&](const std::string& name, const shard_core& core) {
    check_pool(name, core.index().pool(), problem);
    if (!core.check())
      problem("I1, I5: the accounts of " + name + " do not add up");
  });
  auto readers = std::vector<std::map<uint32_t, uint32_t>>(cores.shards.size());
  count_lent(cores.prefills, cores.shards, readers);
  count_lent(cores.decodes, cores.shards, readers);
  for (size_t shard = 0; shard < readers.size(); ++shard)
    for (auto [slot, count] : readers[shard]) {
      const auto& pool = cores.shards[shard]->index().pool();
      if (pool.state(slot) != slot_state::live || pool.refs(slot) < count + 1)
        problem("I1: " + std::to_string(count) + " attempts read slot " + std::to_string(slot) + " of "
                + place_name(role::shard, shard) + ", which has " + std::to_string(pool.refs(slot)) + " references");
    }
}

void check_index(const cluster_cores& cores, const problem_sink& problem) {
  if (cores.conductor == nullptr)
    return;
  const auto& index = cores.conductor->index();
  for (uint32_t shard = 0; shard < cores.shards.size(); ++shard) {
    if (cores.shards[shard] == nullptr)
      continue;
    const auto& truth = cores.shards[shard]->index();
    if (index.blocks_of(shard) != truth.size())
      problem("I7: the index has " + std::to_string(index.blocks_of(shard)) + " blocks of "
              + place_name(role::shard, shard) + ", which holds " + std::to_string(truth.size()));
    for (auto key = truth.next(std::nullopt); key; key = truth.next(key))
      if (!index.holds(*key, shard))
        problem("I7: the index does not know that " + place_name(role::shard, shard) + " holds " + to_string(*key));
  }
}

void check_books(const cluster_cores& cores, const problem_sink& problem) {
  for_each_living(role::prefill, cores.prefills,
                  [&](const std::string& name, const prefill_core& core) { check_instance(name, core, problem); });
  for_each_living(role::decode, cores.decodes,
                  [&](const std::string& name, const decode_core& core) { check_instance(name, core, problem); });
  for_each_living(role::shard, cores.shards,
                  [&](const std::string& name, const shard_core& core) { check_shard(name, core, problem); });
  for_each_living(role::session, cores.sessions, [&](const std::string& name, const session_core& core) {
    if (!core.idle())
      problem("I5: " + name + " is not idle");
  });
  if (cores.conductor == nullptr)
    return;
  const auto& conductor = *cores.conductor;
  if (conductor.requests() != 0)
    problem("I5: the Conductor still has " + std::to_string(conductor.requests()) + " requests");
  if (!conductor.ledger().placements().empty())
    problem("I5: the Conductor's books still have " + std::to_string(conductor.ledger().placements().size())
            + " placements");
  for (const auto& [place, member] : conductor.ledger().members())
    if (member.tokens != 0 || member.open != 0)
      problem("I5: the Conductor's books still have " + std::to_string(member.tokens) + " tokens reserved at "
              + name_of(member.who));
}

} // namespace perigee::sim
