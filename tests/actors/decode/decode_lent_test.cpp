// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A shard on the decode instance's own node, whose slot 0 is slot 40 here.
constexpr auto shard_here = address{role::shard, 4, the_decode.node, 44};

struct lending_script : decode_script {
  explicit lending_script(uint32_t slots = 16) : decode_script(with(slots)) {
    tell(peer_up{shard_here, {}});
  }

  static decode_options with(uint32_t slots) {
    auto options = options_for(slots, 4, true);
    options.coupled = coupling::chunked;
    options.chunk_tokens = 8;
    options.local_shard = shard_here.index;
    options.lent = lent_pool{shard_here.index, 40, 12};
    return options;
  }

  static prefill_job job(uint64_t number, uint32_t tokens, uint32_t choices = 1, token_id first = 1) {
    return own_job(reservation(number, tokens, choices, 0, first));
  }

  /// The whole prefix that may be lent is, from the shard's slot 5 on; the rest is not cached.
  fetch lend_all() {
    auto ask = only_local<fetch>();
    auto news = fetched{ask.id, ask.lend, 0};
    for (auto block = 0u; block < ask.lend; ++block)
      news.lent.push_back(45 + block);
    tell(news);
    return ask;
  }

  kernels::prefill_work chunk(token_id token = 500) {
    auto work = only_local<run_prefill>().work;
    tell(done(work.id, std::vector<token_id>(work.samples.size(), token)));
    return work;
  }

  size_t lent_there() const {
    auto count = size_t{0};
    core.each_lent([&](uint32_t, uint32_t) { ++count; });
    return count;
  }
};

} // namespace

TEST_CASE("decode_core: a prompt's lent blocks take no slots and are read until its sequence ends") {
  auto it = lending_script{};
  auto request = it.job(1, 18);
  it.tell(request);
  auto ask = it.lend_all();
  CHECK_EQ(ask.lend, 4);
  CHECK_EQ(it.slots(slot_state::live), 1);
  CHECK_EQ(it.lent_there(), 4);
  auto item = it.take_local<run_prefill>().at(0);
  CHECK_EQ(item.work.start, 16);
  CHECK(item.written.empty());
  CHECK(std::vector<uint32_t>(item.work.blocks.begin(), item.work.blocks.begin() + 4)
        == std::vector<uint32_t>{45, 46, 47, 48});
  it.tell(done(item.work.id, {500}));
  CHECK(it.take_local<publish>().empty()); // All full blocks are at the shard.
  for (auto i = 0; i < 4; ++i) {
    auto rows = it.step().rows;
    REQUIRE_EQ(rows.size(), 1);
    CHECK_EQ(rows[0].blocks[0], 45);
    CHECK_EQ(rows[0].blocks[3], 48);
    CHECK_LT(rows[0].blocks[4], 16);
  }
  CHECK(it.take_local<give_back>().empty());
  it.step(end_token);
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  auto offered = it.only_local<publish>(); // What was generated fills a block.
  CHECK_EQ(offered.keys.size(), 1);
  CHECK_LT(offered.slots.at(0), 16);
  it.tell(published{offered.id, 1});
  CHECK(it.empty());
}

TEST_CASE("decode_core: choices share lent blocks, which are given back with the last of them") {
  auto it = lending_script{};
  it.tell(it.job(1, 18, 2));
  auto ask = it.lend_all();
  it.chunk();
  for (const auto& copy : it.take_local<run_copy>())
    it.tell(done(copy.work.id));
  auto work = it.only_local<run_decode>().work;
  REQUIRE_EQ(work.rows.size(), 2);
  CHECK_EQ(work.rows[0].blocks[0], 45);
  CHECK_EQ(work.rows[1].blocks[0], 45);
  CHECK_NE(work.rows[0].blocks[4], work.rows[1].blocks[4]);
  it.tell(done(work.id, {end_token, 600}));
  CHECK(it.take_local<give_back>().empty());
  CHECK_EQ(it.lent_there(), 4);
  it.step(end_token);
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK_EQ(it.publish_all(), 1);
  CHECK(it.empty());
}

TEST_CASE("decode_core: a prompt that ends before its first token gives back what it was lent, once") {
  auto it = lending_script{};
  it.tell(it.job(1, 18));
  auto ask = uint64_t{0};
  SUBCASE("cancelled while it is lent") {
    it.tell(cancel{the_conductor, 5, ticket_of(1)});
    CHECK(it.take_local<give_back>().empty());
    ask = it.lend_all().id;
  }
  SUBCASE("cancelled while its chunk runs") {
    ask = it.lend_all().id;
    auto work = it.only_local<run_prefill>().work;
    it.tell(cancel{the_conductor, 5, ticket_of(1)});
    CHECK(it.take_local<give_back>().empty());
    it.tell(done(work.id, {}, errc::cancelled));
  }
  SUBCASE("by a device that fails") {
    ask = it.lend_all().id;
    it.tell(done(it.only_local<run_prefill>().work.id, {}, errc::invalid_argument));
  }
  CHECK_EQ(it.only_local<give_back>().id, ask);
  CHECK(it.empty());
}

TEST_CASE("decode_core: a cancelled sequence gives back what it was lent when its step is over") {
  auto it = lending_script{};
  it.tell(it.job(1, 18));
  auto ask = it.lend_all();
  it.chunk();
  auto work = it.only_local<run_decode>().work;
  it.tell(cancel{the_conductor, 5, ticket_of(1)});
  CHECK(it.take_local<give_back>().empty()); // The step reads them.
  it.tell(done(work.id, {600}));
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK(it.empty());
}

TEST_CASE("decode_core: copies of remote blocks are offered to the local shard, lent ones are only named") {
  auto it = lending_script{};
  auto request = it.job(1, 18);
  request.prefix = {{shard_here, 2}, {far_shard, 2}};
  it.tell(request);
  auto ask = it.only_local<fetch>();
  it.tell(fetched{ask.id, 4, 256, {47, 45, no_slot, no_slot}});
  it.chunk();
  auto offered = it.only_local<publish>();
  CHECK(offered.keys == std::vector<block_key>(request.keys.begin(), request.keys.end()));
  CHECK(offered.slots == std::vector<uint32_t>{no_slot, no_slot, ask.slots[2], ask.slots[3]});
  it.step(end_token);
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK_EQ(it.slots(slot_state::live), 2); // The shard has not read them yet.
  it.tell(published{offered.id, 2});
  CHECK(it.empty());
}

TEST_CASE("decode_core: a sequence of lent blocks ends only when it has the whole pool besides") {
  auto it = lending_script{6};
  it.tell(it.job(1, 18));
  it.lend_all();
  it.chunk();
  auto blocks = size_t{0};
  for (auto i = 0; i < 60 && it.core.attempts() == 1; ++i)
    for (const auto& item : it.take_local<run_decode>()) {
      blocks = item.work.rows.at(0).blocks.size();
      it.tell(done(item.work.id, {600}));
    }
  CHECK_EQ(blocks, 4 + 6);
  auto ended = it.finishes();
  REQUIRE_EQ(ended.size(), 1);
  CHECK(ended[0].second == finish_reason::length);
  CHECK_EQ(it.take_local<give_back>().size(), 1);
  CHECK(it.empty());
}

TEST_CASE("decode_core: what the shard beside it holds is lent before slots are granted, and not written") {
  auto it = lending_script{};
  auto request = it.reservation(1, 18, 2);
  it.tell(request);
  it.tell(request); // Repeated meanwhile.
  CHECK_EQ(it.count<granted>(), 0);
  auto ask = it.only_local<fetch>();
  CHECK_EQ(ask.lend, 4);
  CHECK(ask.keys == chain_keys(request.root, std::span{request.tokens}.first(16), 4));
  REQUIRE_EQ(ask.plan.size(), 1);
  CHECK(ask.plan[0].shard == shard_here);
  it.tell(fetched{ask.id, 3, 64, {46, no_slot, 45}}); // The second was read.
  it.tell(request);
  auto answers = it.take_sent<granted>();
  REQUIRE_EQ(answers.size(), 2);
  auto where = answers[0].second;
  CHECK(where.slots == answers[1].second.slots);
  REQUIRE_EQ(where.slots.size(), 5);
  CHECK(std::vector<uint32_t>(where.slots.begin(), where.slots.begin() + 3)
        == std::vector<uint32_t>{no_slot, no_slot, no_slot});
  CHECK_LT(where.slots[3], 16);
  CHECK_EQ(it.slots(slot_state::transfer), 3);
  it.tell(it.announcement(request, 1));
  it.tell(arrived{where.immediate});
  CHECK_EQ(it.only<joined>(the_prefill).id, request.id);
  for (const auto& copy : it.take_local<run_copy>()) {
    CHECK(std::find(copy.written.begin(), copy.written.end(), ask.slots[1]) != copy.written.end());
    it.tell(done(copy.work.id));
  }
  auto rows = it.step(end_token).rows;
  REQUIRE_EQ(rows.size(), 2);
  for (const auto& row : rows)
    CHECK(std::vector<uint32_t>(row.blocks.begin(), row.blocks.begin() + 4)
          == std::vector<uint32_t>{46, ask.slots[1], 45, where.slots[3]});
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK(it.empty());
}

TEST_CASE("decode_core: nobody is waited for where no shard beside it could have anything") {
  auto it = lending_script{};
  it.tell(it.reservation(1, 4));
  CHECK_EQ(it.count<granted>(), 1); // One block, which is written.
  auto grouped = it.reservation(2, 18, 1, 0, 50);
  grouped.stages = {other_prefill};
  it.tell(grouped);
  CHECK_EQ(it.count<granted>(), 1);
  it.tell(peer_down{shard_here});
  it.tell(it.reservation(3, 18, 1, 0, 90));
  CHECK_EQ(it.count<granted>(), 1);
  CHECK(it.take_local<fetch>().empty());
}

TEST_CASE(
  "decode_core: a reservation that ends while the shard is asked frees its slots and its loan when it answered") {
  auto it = lending_script{};
  auto request = it.reservation(1, 18);
  it.tell(request);
  auto ask = it.only_local<fetch>();
  SUBCASE("quiesced by prefill") {
    it.tell(quiesced{the_prefill, request.id, true});
  }
  SUBCASE("by the death of prefill") {
    it.tell(peer_down{the_prefill});
    for (const auto& fence : it.take_local<fence_node>())
      it.tell(node_fenced{fence.id});
  }
  SUBCASE("cancelled") {
    it.tell(cancel{the_conductor, 5, request.id});
    it.tell(quiesced{the_prefill, request.id, true});
  }
  CHECK_EQ(it.only_local<cancel_store>().id, ask.id);
  CHECK_EQ(it.slots(slot_state::transfer), 5);
  CHECK(it.take_local<give_back>().empty());
  it.tell(fetched{ask.id, 2, 0, {46, 45}});
  CHECK_EQ(it.count<granted>(), 0);
  CHECK_EQ(it.only_local<give_back>().id, ask.id);
  CHECK(it.empty());
}
