// SPDX-License-Identifier: Apache-2.0
#include "actors/prefill/chunk_plan.hpp"
#include "actors/prefill/coming_blocks.hpp"
#include "actors/prefill/farewells.hpp"
#include "actors/prefill/prefix_plan.hpp"
#include "tests/actors/core_script.hpp"

using namespace perigee;
using namespace perigee::testing;

TEST_CASE("chunk_plan: chunks cover a prompt without gap, and no block is written by two of them") {
  auto layout = kernels::kv_layout{1, 4, 8};
  for (auto total : {1u, 3u, 4u, 5u, 16u, 31u, 64u})
    for (auto start = 0u; start < total; ++start)
      for (auto chunk_tokens : {4u, 8u, 12u}) {
        CAPTURE(total);
        CAPTURE(start);
        CAPTURE(chunk_tokens);
        auto at = start;
        auto next_block = start / 4;
        while (true) {
          auto chunk = next_chunk(at, total, chunk_tokens, layout);
          REQUIRE_EQ(chunk.start, at);
          REQUIRE_GT(chunk.end, at);
          REQUIRE_LE(chunk.end - chunk.start, chunk_tokens);
          REQUIRE_EQ(chunk.block_first, next_block);
          REQUIRE_EQ(chunk.block_last, layout.blocks_for(chunk.end));
          at = chunk.end;
          next_block = chunk.block_last;
          if (chunk.last)
            break;
          REQUIRE_EQ(chunk.end % 4, 0);
        }
        CHECK_EQ(at, total);
      }
}

TEST_CASE("chunk_plan: chunk sizes are whole blocks, at least one") {
  CHECK_EQ(whole_blocks(512, 16), 512);
  CHECK_EQ(whole_blocks(500, 16), 496);
  CHECK_EQ(whole_blocks(3, 16), 16);
}

TEST_CASE("prefix_plan: the plan is cut to the prompt's blocks, and the local shard is asked for the rest") {
  auto placed = std::vector<prefix_segment>{{far_shard, 3}, {local_shard, 4}};
  auto plan = plan_fetch(placed, 5, std::nullopt);
  REQUIRE_EQ(plan.segments.size(), 2);
  CHECK_EQ(plan.segments[1].blocks, 2);
  CHECK_EQ(plan.blocks, 5);
  plan = plan_fetch(placed, 3, local_shard);
  CHECK_EQ(plan.segments.size(), 1);
  plan = plan_fetch(placed, 9, local_shard);
  REQUIRE_EQ(plan.segments.size(), 3);
  CHECK_EQ(plan.segments[2].shard, local_shard);
  CHECK_EQ(plan.segments[2].blocks, 2);
  CHECK_EQ(plan.blocks, 9);
  CHECK_EQ(plan_fetch(placed, 9, std::nullopt).blocks, 7);
  CHECK_EQ(plan_fetch({}, 0, local_shard).blocks, 0);
  CHECK(plan_fetch({}, 0, local_shard).segments.empty());
}

TEST_CASE("prefix_plan: the last token of a prompt is always computed") {
  CHECK_EQ(reused_tokens(25, 16, 405), 400);
  CHECK_EQ(reused_tokens(25, 16, 400), 399);
  CHECK_EQ(reused_tokens(0, 16, 400), 0);
}

TEST_CASE("prefix_plan: what came from the local shard is not offered again, a copy of a far block is a new replica") {
  CHECK_EQ(first_to_offer({{local_shard, 3}}, 3, local_shard), 3);
  CHECK_EQ(first_to_offer({}, 2, local_shard), 2);
  CHECK_EQ(first_to_offer({{local_shard, 1}, {far_shard, 2}}, 3, local_shard), 0);
  CHECK_EQ(first_to_offer({{local_shard, 3}}, 3, std::nullopt), 0);
}

TEST_CASE("coming_blocks: only an earlier attempt that stores more than can be fetched now is worth waiting for") {
  auto key = [](uint64_t n) { return block_key{n, n}; };
  auto it = coming_blocks{};
  auto prompt = shared_list<block_key>{key(1), key(2), key(3)};
  it.add(5, {key(1), key(2)});
  CHECK(it.more_than(0, 6, prompt));
  CHECK(it.more_than(1, 6, prompt));
  CHECK_FALSE(it.more_than(2, 6, prompt));
  CHECK_FALSE(it.more_than(0, 5, prompt)); // Itself.
  CHECK_FALSE(it.more_than(0, 4, prompt));
  CHECK_FALSE(it.more_than(0, 6, {key(9)}));
  it.add(4, {key(1)});
  it.remove(5, {key(1), key(2)});
  CHECK(it.more_than(0, 6, prompt));
  CHECK_FALSE(it.more_than(1, 6, prompt));
  it.remove(4, {key(1)});
  CHECK_FALSE(it.more_than(0, 6, prompt));
}

TEST_CASE("farewells: each is repeated until its own decode instance answers or dies") {
  auto open = farewells{the_prefill, 250};
  auto first = open.part(ticket_of(1), the_decode, false, 1000);
  CHECK_FALSE(first.clean);
  open.part(ticket_of(2), other_decode, true, 1100);
  CHECK(open.due(1249).empty());
  auto due = open.due(1250);
  REQUIRE_EQ(due.size(), 1);
  CHECK_EQ(due[0].first, the_decode);
  CHECK_FALSE(due[0].second.clean);
  CHECK(open.due(1251).empty());
  open.on(quiesced_ack{other_decode, ticket_of(1)}); // Not the one that was asked.
  CHECK_EQ(open.size(), 2);
  open.on(quiesced_ack{the_decode, ticket_of(1)});
  open.on(quiesced_ack{the_decode, ticket_of(1)});
  CHECK_EQ(open.size(), 1);
  open.lost(other_decode);
  CHECK_EQ(open.size(), 0);
  CHECK(open.due(UINT64_MAX).empty());
}
