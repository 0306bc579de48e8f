// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/prefill_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A prefill core that can read the pool of the shard beside it in place: slot 0 there is slot 20 here.
struct lending_script : prefill_script {
  explicit lending_script(uint32_t slots = 8) : prefill_script(with(slots)) {
    tell(peer_up{local_shard, {}});
  }

  static prefill_options with(uint32_t slots) {
    auto options = options_for(slots, 4, true);
    options.lent = lent_pool{local_shard.index, 20, 11};
    return options;
  }

  std::vector<uint32_t> lent_there() const {
    auto found = std::vector<uint32_t>{};
    core.each_lent([&](uint32_t shard, uint32_t slot) {
      CHECK_EQ(shard, local_shard.index);
      found.push_back(slot);
    });
    return found;
  }
};

} // namespace

TEST_CASE("prefill_core: lent blocks are read where they lie and take no slots; they are given back when all is over") {
  auto it = lending_script{};
  auto job = it.job(1, 18);
  it.tell(job);
  auto ask = it.only_local<fetch>();
  CHECK_EQ(ask.slots.size(), 4);
  CHECK_EQ(ask.lend, 4); // The last two tokens are in a block of their own.
  it.tell(fetched{ask.id, 3, 64, {25, no_slot, 23}});
  CHECK_EQ(it.free_slots(), 5);
  CHECK(it.lent_there() == std::vector<uint32_t>{5, 3});
  auto item = it.only_local<run_prefill>();
  CHECK_EQ(item.work.start, 12);
  CHECK_EQ(item.work.blocks[0], 25);
  CHECK_EQ(item.work.blocks[1], ask.slots[1]);
  CHECK_EQ(item.work.blocks[2], 23);
  CHECK_LT(item.work.blocks[3], 8);
  CHECK(item.written == std::vector<uint32_t>{ask.slots[1]}); // Of the others the stream need not be told.

  it.grant(job.id, 5);
  auto moves = it.take_local<move_blocks>();
  REQUIRE_EQ(moves.size(), 2);
  CHECK_EQ(moves[0].local, 11);
  REQUIRE_EQ(moves[0].pieces.size(), 2);
  CHECK_EQ(moves[0].pieces[0].local_offset, 5 * 128);
  CHECK_EQ(moves[0].pieces[0].remote_offset, 100 * 128);
  CHECK_EQ(moves[0].pieces[1].local_offset, 3 * 128);
  CHECK_EQ(moves[0].pieces[1].remote_offset, 102 * 128);
  CHECK_EQ(moves[1].local, 3);
  REQUIRE_EQ(moves[1].pieces.size(), 1);
  CHECK_EQ(moves[1].pieces[0].remote_offset, 101 * 128);
  CHECK(moves[0].immediate == moves[1].immediate);

  it.finish(item.work);
  auto announced = it.only<handed_over>(the_decode);
  CHECK_EQ(announced.pieces, 2 + 2);
  CHECK_EQ(announced.bytes, 3 * 128 + 2 * 2 * 64);
  auto offered = it.only_local<publish>();
  CHECK(offered.keys == std::vector<block_key>(job.keys.begin() + 2, job.keys.end()));
  REQUIRE_EQ(offered.slots.size(), 2);
  CHECK_EQ(offered.slots[0], no_slot); // Says where the other belongs.
  CHECK_LT(offered.slots[1], 8);
  it.tell(published{offered.id, 1});
  it.tell(joined{the_decode, job.id});
  it.tell(ended_move(moves[1].id));
  it.move_all();
  CHECK(it.take_local<give_back>().empty()); // A transfer reads them.
  CHECK_EQ(it.core.attempts(), 1);
  it.tell(ended_move(moves[0].id));
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: requests with one prefix hold it once, at the shard") {
  auto it = lending_script{7}; // Each needs slots for all of it until it is known what is lent.
  for (auto number : {1, 2, 3}) {
    auto job = it.job(static_cast<uint64_t>(number), 18);
    job.prefix = {{local_shard, 4}};
    it.tell(job);
    auto ask = it.only_local<fetch>();
    it.tell(fetched{ask.id, 4, 0, {20, 21, 22, 23}});
  }
  CHECK_EQ(it.free_slots(), 4);
  CHECK_EQ(it.lent_there().size(), 12);
}

TEST_CASE("prefill_core: the block of the last token is never lent") {
  for (auto [tokens, lend] : {std::pair{16u, 3u}, {17u, 4u}, {15u, 3u}, {4u, 0u}, {5u, 1u}}) {
    CAPTURE(tokens);
    auto it = lending_script{};
    it.tell(it.job(1, tokens));
    CHECK_EQ(it.only_local<fetch>().lend, lend);
  }
}

TEST_CASE("prefill_core: cancelled at any time, what it was lent is given back once") {
  auto it = lending_script{};
  auto job = it.job(1, 18);
  it.tell(job);
  auto ask = it.only_local<fetch>();
  SUBCASE("while it is lent") {
    it.tell(cancel{the_conductor, 5, job.id});
    CHECK_EQ(it.only_local<cancel_store>().id, ask.id);
    it.tell(fetched{ask.id, 2, 0, {25, 24}});
  }
  SUBCASE("while nothing was lent") {
    it.tell(cancel{the_conductor, 5, job.id});
    it.tell(fetched{ask.id, 0});
    CHECK(it.take_local<give_back>().empty());
    CHECK(it.empty());
    return;
  }
  SUBCASE("while it computes") {
    it.tell(fetched{ask.id, 2, 0, {25, 24}});
    auto item = it.take_local<run_prefill>().at(0);
    it.tell(cancel{the_conductor, 5, job.id});
    CHECK(it.take_local<give_back>().empty());
    it.tell(done(item.work.id, {}, errc::cancelled));
    for (const auto& other : it.take_local<run_prefill>())
      it.tell(done(other.work.id, {}, errc::cancelled));
    for (const auto& other : it.take_local<cancel_work>())
      it.tell(done(other.id, {}, errc::cancelled));
  }
  SUBCASE("while it hands over") {
    it.tell(fetched{ask.id, 4, 0, {25, 24, 23, 22}});
    it.compute();
    it.grant(job.id, 5);
    auto moves = it.take_local<move_blocks>();
    it.publish_all();
    it.tell(cancel{the_conductor, 5, job.id});
    CHECK(it.take_local<give_back>().empty());
    for (const auto& move : moves)
      it.tell(ended_move(move.id, errc::cancelled));
  }
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK(it.empty());
}

TEST_CASE("prefill_core: a group's head borrows nothing") {
  auto it = lending_script{};
  it.tell(peer_up{other_prefill, {}});
  it.tell(it.grouped_job(1, 18));
  CHECK_EQ(it.only_local<fetch>().lend, 0);
}

TEST_CASE("prefill_core: blocks that the decode instance has are not written there") {
  auto it = lending_script{};
  auto job = it.job(1, 18);
  it.tell(job);
  auto ask = it.only_local<fetch>();
  it.tell(fetched{ask.id, 4, 0, {25, 24, 23, 22}});
  it.tell(granted{the_decode, job.id, {8, 0, 1 << 20}, {no_slot, no_slot, no_slot, 103, 104}, 55});
  auto move = it.only_local<move_blocks>();
  REQUIRE_EQ(move.pieces.size(), 1);
  CHECK_EQ(move.pieces[0].local_offset, 2 * 128);
  CHECK_EQ(move.pieces[0].remote_offset, 103 * 128);
  it.tell(ended_move(move.id));
  it.compute();
  CHECK_EQ(it.move_all(), 2);
  auto announced = it.only<handed_over>(the_decode);
  CHECK_EQ(announced.pieces, 3);
  CHECK_EQ(announced.bytes, 2 * 128);
  it.tell(joined{the_decode, job.id});
  CHECK_EQ(it.take_local<give_back>().size(), 1);
  CHECK(it.take_local<publish>().empty());
  CHECK(it.empty());
}
