// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/prefill_script.hpp"

#include <set>

using namespace perigee;
using namespace perigee::testing;

namespace {

constexpr auto layer_bytes = uint64_t{64};

/// A prefill core whose stream takes passages: 4 layers, blocks of 4 tokens, chunks of 8. The local shard lives.
struct layered_script : prefill_script {
  explicit layered_script(uint32_t slots = 8, bool lends = false, bool keep = true)
    : prefill_script(with(slots, lends, keep)) {
    tell(peer_up{local_shard, {}});
  }

  static prefill_options with(uint32_t slots, bool lends, bool keep) {
    auto options = options_for(slots, 4, keep);
    options.layout.layers = 4;
    options.by_layer = true;
    if (lends)
      options.lent = lent_pool{local_shard.index, 20, 11};
    return options;
  }

  /// Its prefix is not there.
  prefill_job begin(uint64_t number = 1, uint32_t tokens = 18) {
    auto made = job(number, tokens, 0, static_cast<token_id>(100 * number));
    tell(made);
    tell(fetched{only_local<fetch>().id, 0});
    return made;
  }

  kernels::prefill_work only_item() {
    return only_local<run_prefill>().work;
  }

  static void check_places(const kernels::prefill_work& work, uint32_t slots) {
    CHECK_EQ(std::set<uint32_t>(work.blocks.begin(), work.blocks.end()).size(), work.blocks.size());
    for (auto place : work.blocks)
      CHECK_LT(place, slots * 4);
  }
};

} // namespace

TEST_CASE("prefill_core: a prompt of several chunks goes layer by layer through the places of two") {
  auto it = layered_script{};
  auto job = it.begin();
  CHECK_EQ(it.free_slots(), 8 - 3); // Two of four layers of five blocks.
  CHECK_EQ(it.only<reserve>(the_decode).id, job.id);
  auto offered = it.only_local<publish>();
  CHECK(offered.in_parts);
  CHECK(offered.keys == std::vector<block_key>(job.keys.begin(), job.keys.end()));
  auto items = it.take_local<run_prefill>();
  REQUIRE_EQ(items.size(), 2);
  auto first = items[0].work;
  auto second = items[1].work;
  CHECK_EQ(first.passage, first.id);
  CHECK_EQ(second.passage, first.id);
  CHECK(first.layers == kernels::layer_span{0, 1});
  CHECK(second.layers == kernels::layer_span{1, 2});
  CHECK_EQ(first.tokens.size(), 18);
  CHECK(first.samples.empty());
  auto both = first;
  both.blocks.insert(both.blocks.end(), second.blocks.begin(), second.blocks.end());
  it.check_places(both, 8);

  it.finish(first);
  CHECK(it.take_local<run_prefill>().empty()); // Its places are still read.
  auto part = it.only_local<publish_part>();
  CHECK_EQ(part.offset, 0);
  CHECK_EQ(part.bytes, layer_bytes);
  REQUIRE_EQ(part.places.size(), 4); // of the full blocks
  for (auto i = 0u; i < 4; ++i)
    CHECK_EQ(part.places[i], first.blocks[i] * layer_bytes);
  it.grant(job.id, 5);
  auto move = it.only_local<move_blocks>();
  REQUIRE_EQ(move.pieces.size(), 5);
  for (auto i = 0u; i < 5; ++i) {
    CHECK_EQ(move.pieces[i].local_offset, first.blocks[i] * layer_bytes);
    CHECK_EQ(move.pieces[i].remote_offset, (100 + i) * 4 * layer_bytes);
    CHECK_EQ(move.pieces[i].bytes, layer_bytes);
  }
  it.tell(ended_move(move.id));
  CHECK(it.take_local<run_prefill>().empty());
  it.tell(part_published{part.id, part.offset});
  auto third = it.only_item();
  CHECK(third.blocks == first.blocks);
  CHECK(third.layers == kernels::layer_span{2, 3});

  it.finish(second);
  part = it.only_local<publish_part>();
  CHECK_EQ(part.offset, layer_bytes);
  CHECK_EQ(part.places[0], second.blocks[0] * layer_bytes);
  it.tell(part_published{part.id, part.offset});
  CHECK(it.take_local<run_prefill>().empty());
  it.move_all();
  auto last = it.only_item();
  CHECK(last.blocks == second.blocks);
  CHECK_EQ(last.samples.size(), 1);
  it.finish(third);
  it.finish(last);
  CHECK(it.take_local<run_prefill>().empty());
  auto announced = it.only<handed_over>(the_decode);
  CHECK_EQ(announced.pieces, 4);
  CHECK_EQ(announced.bytes, 5 * 4 * layer_bytes);
  CHECK_EQ(it.move_all(), 2);
  CHECK(it.take_local<publish>().empty());
  auto parts = it.take_local<publish_part>();
  REQUIRE_EQ(parts.size(), 2);
  it.tell(joined{the_decode, job.id});
  CHECK_EQ(it.core.attempts(), 1); // Its slots are read by the store client.
  for (const auto& one : parts)
    it.tell(part_published{one.id, one.offset});
  it.tell(published{offered.id, 4});
  CHECK(it.empty());
  CHECK(it.take_local<cancel_work>().empty());
}

TEST_CASE("prefill_core: what is short, goes to nobody nearby or to a stream without passages is computed by chunks") {
  auto is_layered = [](layered_script& it, uint32_t tokens) {
    it.tell(it.job(1, tokens));
    for (const auto& ask : it.take_local<fetch>())
      it.tell(fetched{ask.id, 0});
    return it.take_local<run_prefill>().at(0).work.passage != 0;
  };
  auto it = layered_script{20};
  CHECK(is_layered(it, 9));
  it = layered_script{20};
  CHECK_FALSE(is_layered(it, 8));
  it = layered_script{40};
  CHECK(is_layered(it, 128));
  it = layered_script{40};
  CHECK_FALSE(is_layered(it, 129)); // A layer of it would take as long as many chunks.
  it = layered_script{20};
  it.tell(peer_down{local_shard});
  CHECK_FALSE(is_layered(it, 18));
  it = layered_script{20, false, false}; // Nothing is kept for others.
  it.tell(peer_down{local_shard});
  CHECK(is_layered(it, 18));
  auto options = layered_script::with(20, false, true);
  options.by_layer = false;
  auto plain = prefill_script{options};
  plain.tell(plain.job(1, 18));
  CHECK_EQ(plain.take_local<run_prefill>().at(0).work.passage, 0);
  options.by_layer = true;
  options.layout.layers = 3; // Two layers' places would be most of the whole blocks.
  auto flat = prefill_script{options};
  flat.tell(peer_up{local_shard, {}});
  flat.tell(flat.job(1, 18));
  flat.tell(fetched{flat.only_local<fetch>().id, 0});
  CHECK_EQ(flat.take_local<run_prefill>().at(0).work.passage, 0);
}

TEST_CASE("prefill_core: layer by layer, a prefix is read in whole slots or where it was lent") {
  auto it = layered_script{8, true};
  auto job = it.job(1, 26); // 7 blocks
  job.prefix = {{far_shard, 2}};
  it.tell(job);
  auto ask = it.only_local<fetch>();
  REQUIRE_EQ(ask.slots.size(), 6);
  CHECK_LT(ask.slots[1], 8);
  CHECK_EQ(ask.slots[2], no_slot); // What the local shard has beyond the plan, it lends.
  CHECK_EQ(it.free_slots(), 8 - 2 - 3);
  it.tell(fetched{ask.id, 3, 0, {no_slot, no_slot, 25}});
  CHECK_EQ(it.free_slots(), 8 - 2 - 2); // two layers of four blocks
  auto items = it.take_local<run_prefill>();
  REQUIRE_EQ(items.size(), 2);
  for (auto layer : {0u, 1u}) {
    const auto& work = items[layer].work;
    CHECK_EQ(work.start, 12);
    CHECK_EQ(work.tokens.size(), 14);
    REQUIRE_EQ(work.blocks.size(), 7);
    CHECK_EQ(work.blocks[0], ask.slots[0] * 4 + layer);
    CHECK_EQ(work.blocks[1], ask.slots[1] * 4 + layer);
    CHECK_EQ(work.blocks[2], 25 * 4 + layer);
  }
  CHECK(items[0].written == std::vector<uint32_t>{ask.slots[0], ask.slots[1]});
  // The copy of what came from far away is offered as well.
  auto offered = it.only_local<publish>();
  CHECK_EQ(offered.keys.size(), 6);
  CHECK_EQ(offered.slots[2], no_slot);
  CHECK_NE(offered.slots[3], no_slot);
  it.grant(job.id, 7);
  auto moves = it.take_local<move_blocks>();
  REQUIRE_EQ(moves.size(), 2); // The prefix, all layers of it.
  CHECK_EQ(moves[0].local, 11);
  CHECK_EQ(moves[0].pieces[0].local_offset, 5 * 4 * layer_bytes);
  CHECK_EQ(moves[1].pieces.size(), 2);
  CHECK_EQ(moves[1].pieces[0].bytes, 4 * layer_bytes);
  for (const auto& move : moves)
    it.tell(ended_move(move.id));
  it.finish(items[0].work);
  auto part = it.only_local<publish_part>();
  CHECK_EQ(part.places[0], ask.slots[0] * 4 * layer_bytes);
  CHECK_EQ(part.places[3], items[0].work.blocks[3] * layer_bytes);
  CHECK_EQ(it.only_local<move_blocks>().pieces.size(), 4);
}

TEST_CASE("prefill_core: when little is left to be computed, it is computed by chunks after all") {
  auto it = layered_script{8, true};
  auto job = it.job(1, 26);
  it.tell(job);
  auto ask = it.only_local<fetch>();
  CHECK_EQ(it.free_slots(), 8 - 4);
  it.tell(fetched{ask.id, 5, 0, {20, 21, 22, 23, 24}});
  auto item = it.only_item();
  CHECK_EQ(item.passage, 0);
  CHECK_EQ(item.start, 20);
  CHECK_LT(item.blocks[5], 8);
  CHECK_LT(item.blocks[6], 8);
  CHECK_EQ(it.free_slots(), 8 - 2);
  it.grant(job.id, 7);
  it.finish(item);
  it.move_all();
  CHECK_EQ(it.only_local<publish>().in_parts, false);
}

TEST_CASE("prefill_core: layers that cannot leave keep nobody from the device, and go on when they can") {
  auto it = layered_script{16};
  auto job = it.begin(1);
  for (const auto& item : it.take_local<run_prefill>())
    it.finish(item.work);
  for (const auto& part : it.take_local<publish_part>())
    it.tell(part_published{part.id, part.offset});
  CHECK(it.take_local<run_prefill>().empty()); // Decode has granted nothing.
  CHECK_EQ(it.take_local<publish>().size(), 1);
  auto other = it.begin(2, 6);
  auto item = it.only_item();
  CHECK_EQ(item.passage, 0);
  it.grant(job.id, 5);
  auto moves = it.take_local<move_blocks>();
  REQUIRE_EQ(moves.size(), 2);
  it.tell(ended_move(moves[1].id));
  CHECK(it.take_local<run_prefill>().empty());
  it.tell(ended_move(moves[0].id));
  auto next = it.only_item(); // The device's second place; what began first goes before anything new.
  CHECK(next.layers == kernels::layer_span{2, 3});
  it.finish(item);
  CHECK(it.only_item().layers == kernels::layer_span{3, 4});
}

TEST_CASE("prefill_core: while a layer is computed whose successor has no places yet, nothing comes between") {
  auto it = layered_script{16};
  auto job = it.begin(1);
  auto items = it.take_local<run_prefill>();
  it.grant(job.id, 5);
  it.begin(2, 6);
  it.finish(items[0].work);
  CHECK(it.take_local<run_prefill>().empty());
  it.move_all();
  for (const auto& part : it.take_local<publish_part>())
    it.tell(part_published{part.id, part.offset});
  CHECK(it.only_item().layers == kernels::layer_span{2, 3});
}

TEST_CASE("prefill_core: cancelled layer by layer at any time, everything is free once nothing touches it") {
  auto it = layered_script{};
  auto job = it.begin();
  auto items = it.take_local<run_prefill>();
  auto passage = items[0].work.id;
  auto stop = [&] {
    it.tell(cancel{the_conductor, 5, job.id});
    CHECK_EQ(it.only_local<cancel_store>().id, it.only_local<publish>().id);
    auto told = std::set<uint64_t>{};
    for (const auto& one : it.take_local<cancel_work>())
      told.insert(one.id);
    return told;
  };
  auto end_publish = [&] {
    CHECK_EQ(it.core.attempts(), 1);
    it.tell(published{1 * 2 + 1, 0});
  };
  SUBCASE("while its first layer is computed") {
    CHECK(stop() == std::set{items[0].work.id, items[1].work.id});
    for (const auto& item : items)
      it.tell(done(item.work.id, {}, errc::cancelled));
    end_publish();
  }
  SUBCASE("while its second layer is computed, and its first is written") {
    it.grant(job.id, 5);
    it.finish(items[0].work);
    auto move = it.only_local<move_blocks>();
    auto part = it.only_local<publish_part>();
    CHECK(stop() == std::set{passage, items[1].work.id});
    it.tell(done(items[1].work.id, {}, errc::cancelled));
    it.tell(part_published{part.id, part.offset});
    end_publish();
    CHECK_EQ(it.core.attempts(), 1);
    it.tell(ended_move(move.id, errc::cancelled));
  }
  SUBCASE("while it stands still") {
    for (const auto& item : items)
      it.finish(item.work);
    CHECK(stop() == std::set{passage});
    end_publish();
  }
  CHECK(it.empty());
  CHECK_EQ(it.count<cancelled>(), 1);
}

TEST_CASE("prefill_core: layer by layer, a failed write or device ends the attempt and its passage") {
  auto it = layered_script{};
  auto job = it.begin();
  auto items = it.take_local<run_prefill>();
  it.grant(job.id, 5);
  it.finish(items[0].work);
  auto move = it.only_local<move_blocks>();
  auto reason = ec::peer_lost;
  SUBCASE("write") {
    it.tell(ended_move(move.id, errc::timed_out));
    CHECK_EQ(it.take_local<cancel_work>().size(), 2); // the item and the passage
    it.tell(done(items[1].work.id, {}, errc::cancelled));
  }
  SUBCASE("device") {
    it.tell(done(items[1].work.id, {}, errc::exhausted));
    CHECK_EQ(it.only_local<cancel_work>().id, items[0].work.id);
    it.tell(ended_move(move.id));
    reason = ec::instance_failed;
  }
  it.tell(published{it.only_local<publish>().id, 0});
  CHECK_EQ(it.only<job_failed>(the_session).reason, reason);
  CHECK_EQ(it.only<quiesced>(the_decode).clean, reason != ec::peer_lost);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a sibling does not wait for a prompt that stands still because decode refused it") {
  auto it = layered_script{20};
  it.tell(conductor_hello{the_conductor, 5});
  auto job = it.begin(1);
  auto sibling = it.job(2, 18, 0, 100);
  it.tell(sibling);
  CHECK(it.take_local<fetch>().empty()); // What it needs is about to be stored.
  it.tell(refused{the_decode, job.id, job.revision, ec::out_of_blocks});
  CHECK_EQ(it.only_local<fetch>().id % 2, 0);
}
