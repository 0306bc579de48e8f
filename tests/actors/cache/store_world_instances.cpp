// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_world.hpp"
#include "tests/actors/cache/store_world_blocks.hpp"

#include <caf/event_based_actor.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

namespace perigee::testing {

using namespace std::chrono_literals;
using namespace store_blocks;

namespace {

constexpr uint64_t ms = 1'000'000;

} // namespace

// What the instances of a world do: fetch, publish, give back, and look at what they got.

void store_world::act_later(uint32_t number) {
  home.at((1 + random_.below(20)) * ms, [this, number, incarnation = nodes_.at(number).incarnation] {
    auto at = nodes_.find(number);
    if (at == nodes_.end() || at->second.incarnation != incarnation)
      return;
    if (working_)
      act(number);
    act_later(number);
  });
}

void store_world::act(uint32_t number) {
  auto& it = nodes_.at(number);
  switch (random_.below(10)) {
  case 8: give_back_one(it); break;
  case 9: begin_extension(it); break;
  case 0:
    if (!it.jobs.empty()) {
      auto at = it.jobs.begin();
      std::advance(at, random_.below(it.jobs.size()));
      ++totals.cancels;
      caf::send_as(it.instance, it.store_handle, cancel_store{at->first});
    }
    break;
  case 1: begin_publish_in_parts(number); break;
  case 2:
  case 3: begin_publish(it); break;
  default: begin_fetch(it); break;
  }
}

/// A few prompts that share their beginnings; or one that goes on behind `out`.
std::vector<block_key> store_world::some_chain(std::vector<block_key> out) {
  auto high = out.empty() ? 1 + random_.below(4) : out.back().high;
  for (auto length = 1 + random_.below(7); length > 0; --length) {
    if (out.size() == 3)
      high = high * 10 + random_.below(3);
    out.push_back({high, out.size() + 1});
  }
  return out;
}

std::vector<uint32_t> store_world::take_slots(node& it, size_t count) {
  auto out = std::vector<uint32_t>{};
  if (it.idle.size() < count)
    return out;
  while (out.size() < count) {
    auto at = it.idle.begin();
    std::advance(at, random_.below(it.idle.size()));
    REQUIRE(holds(it.pool_memory, *at, junk)); // no read landed after its answer
    out.push_back(*at);
    it.idle.erase(at);
  }
  return out;
}

void store_world::begin_fetch(node& it) {
  auto keys = some_chain();
  auto slots = take_slots(it, keys.size());
  if (slots.empty() || shard_handles_.empty())
    return put_back(it, slots);
  auto plan = std::vector<prefix_segment>{};
  auto place = [&] {
    auto at = shard_handles_.begin();
    std::advance(at, random_.below(shard_handles_.size()));
    return at->first;
  };
  auto cut = static_cast<uint32_t>(random_.below(keys.size() + 1));
  if (cut > 0)
    plan.push_back({place(), cut});
  plan.push_back({place(), static_cast<uint32_t>(keys.size())});
  auto deadline = (20 + random_.below(200)) * ms;
  auto id = ++jobs_made_;
  auto ask = fetch{id, keys, slots, plan, deadline};
  ask.lend = static_cast<uint32_t>(random_.below(keys.size() + 1));
  it.jobs[id] = {true, keys, slots, home.now() + deadline + 400 * ms, ask.lend};
  ++totals.fetches;
  caf::send_as(it.instance, it.store_handle, ask);
}

void store_world::give_back_one(node& it) {
  if (it.loans.empty())
    return;
  auto at = it.loans.begin();
  std::advance(at, random_.below(it.loans.size()));
  caf::send_as(it.instance, it.store_handle, give_back{at->first});
  it.loans.erase(at);
}

/// New blocks behind a prefix that is lent.
void store_world::begin_extension(node& it) {
  if (it.loans.empty())
    return;
  auto at = it.loans.begin();
  std::advance(at, random_.below(it.loans.size()));
  auto lent = static_cast<size_t>(std::find(at->second.slots.begin(), at->second.slots.end(), no_slot)
                                  - at->second.slots.begin());
  auto keys = some_chain({at->second.keys.begin(), at->second.keys.begin() + static_cast<std::ptrdiff_t>(lent)});
  auto slots = take_slots(it, keys.size() - lent);
  if (slots.empty())
    return;
  for (size_t i = 0; i < slots.size(); ++i)
    fill(it.pool_memory, slots[i], keys[lent + i]);
  auto named = std::vector<uint32_t>(lent, no_slot);
  named.insert(named.end(), slots.begin(), slots.end());
  auto id = ++jobs_made_;
  it.jobs[id] = {false, keys, slots, home.now() + 700 * ms};
  ++totals.extended;
  caf::send_as(it.instance, it.store_handle, publish{id, keys, named});
  if (random_.below(2) == 0)
    give_back_one(it); // Perhaps this one.
}

void store_world::begin_publish(node& it) {
  auto keys = some_chain();
  auto slots = take_slots(it, keys.size());
  if (slots.empty())
    return;
  for (size_t i = 0; i < slots.size(); ++i)
    fill(it.pool_memory, slots[i], keys[i]);
  auto id = ++jobs_made_;
  it.jobs[id] = {false, keys, slots, home.now() + 700 * ms};
  ++totals.publishes;
  caf::send_as(it.instance, it.store_handle, publish{id, keys, slots});
}

/// Each part of a block comes into being for itself, and is gone as soon as nobody reads it any more.
void store_world::begin_publish_in_parts(uint32_t number) {
  auto& it = nodes_.at(number);
  auto keys = some_chain();
  auto slots = take_slots(it, keys.size());
  if (slots.empty())
    return;
  auto id = ++jobs_made_;
  auto& job = it.jobs[id];
  job = {false, keys, slots, home.now() + 900 * ms};
  job.parts_end = random_.below(4) > 0 ? parts_of_block : static_cast<uint32_t>(random_.below(parts_of_block));
  ++totals.publishes;
  auto ask = publish{id, keys, std::vector<uint32_t>(keys.size())};
  ask.in_parts = true;
  caf::send_as(it.instance, it.store_handle, ask);
  send_part_later(number, id);
}

void store_world::send_part_later(uint32_t number, uint64_t id) {
  home.at((1 + random_.below(25)) * ms, [this, number, id, incarnation = nodes_.at(number).incarnation] {
    auto at = nodes_.find(number);
    if (at == nodes_.end() || at->second.incarnation != incarnation || !at->second.jobs.contains(id))
      return;
    auto& it = at->second;
    auto& job = it.jobs.at(id);
    if (job.parts_next == job.parts_end) {
      if (job.parts_end < parts_of_block)
        caf::send_as(it.instance, it.store_handle, cancel_store{id});
      return;
    }
    auto part = publish_part{id, job.parts_next++ * part_bytes, part_bytes, {}};
    for (size_t i = 0; i < job.keys.size(); ++i) {
      part.places.push_back(job.slots[i] * block_bytes + part.offset);
      auto bytes = content_of(job.keys[i]);
      std::copy_n(bytes.data() + part.offset, part_bytes, it.pool_memory.data() + part.places.back());
    }
    job.parts_open.insert(part.offset);
    totals.in_parts += job.parts_next == parts_of_block;
    caf::send_as(it.instance, it.store_handle, part);
    send_part_later(number, id);
  });
}

/// The open job that an answer is about, which must be for the instance that lives now.
store_world::open_job& store_world::answered_job(uint32_t number, uint64_t incarnation, uint64_t id) {
  auto& it = nodes_.at(number);
  REQUIRE_EQ(it.incarnation, incarnation);
  REQUIRE(it.jobs.contains(id));
  return it.jobs.at(id);
}

void store_world::done(uint32_t number, uint64_t incarnation, const part_published& news) {
  auto& job = answered_job(number, incarnation, news.id);
  auto& it = nodes_.at(number);
  REQUIRE_EQ(job.parts_open.erase(news.offset), 1);
  auto nothing = content_of(junk);
  for (auto slot : job.slots)
    std::copy_n(nothing.data(), part_bytes, it.pool_memory.data() + slot * block_bytes + news.offset);
  forget_if_over(it, news.id);
}

void store_world::forget_if_over(node& it, uint64_t id) {
  const auto& job = it.jobs.at(id);
  if (!job.answered || !job.parts_open.empty())
    return;
  put_back(it, job.slots);
  it.jobs.erase(id);
}

void store_world::done(uint32_t number, uint64_t incarnation, const fetched& news) {
  const auto& job = answered_job(number, incarnation, news.id);
  auto& it = nodes_.at(number);
  REQUIRE(job.reads);
  REQUIRE_LE(news.blocks, job.keys.size());
  auto is_lent = [&](uint32_t i) { return !news.lent.empty() && news.lent[i] != no_slot; };
  if (!news.lent.empty())
    REQUIRE_EQ(news.lent.size(), news.blocks);
  auto lent = loan{};
  for (uint32_t i = 0; i < news.blocks; ++i)
    if (is_lent(i)) {
      REQUIRE_LT(i, job.lend);
      REQUIRE(holds(it.pool_memory, job.slots[i], junk)); // Nothing was read.
      lent.keys.push_back(job.keys[i]);
      lent.slots.push_back(news.lent[i] - options_.pool_slots);
      ++totals.lent_blocks;
    } else {
      REQUIRE(holds(it.pool_memory, job.slots[i], job.keys[i]));
      if (!news.lent.empty()) {
        lent.keys.push_back(job.keys[i]);
        lent.slots.push_back(no_slot);
      }
    }
  if (!news.lent.empty())
    it.loans.emplace(news.id, std::move(lent));
  totals.fetched_blocks += news.blocks;
  put_back(it, job.slots);
  it.jobs.erase(news.id);
}

void store_world::done(uint32_t number, uint64_t incarnation, const published& news) {
  auto& job = answered_job(number, incarnation, news.id);
  REQUIRE_FALSE(job.reads);
  REQUIRE_LE(news.stored, job.keys.size());
  totals.stored_blocks += news.stored;
  job.answered = true;
  forget_if_over(nodes_.at(number), news.id);
}

void store_world::put_back(node& it, const std::vector<uint32_t>& slots) {
  for (auto slot : slots) {
    fill(it.pool_memory, slot, junk);
    it.idle.insert(slot);
  }
}

} // namespace perigee::testing
