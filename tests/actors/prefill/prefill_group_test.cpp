// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/group_world.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A group that was asked, granted slots, and has not computed anything.
void begin(group_world& it, const prefill_job& what) {
  it.tell(it.head(), what);
  it.run(false);
}

/// Decode has everything of the only request.
void join(group_world& it) {
  auto news = it.take_outside<handed_over>();
  REQUIRE_FALSE(news.empty());
  CHECK_EQ(news[0].second.pieces, it.arrived_at_decode);
  it.tell(it.head(), joined{the_decode, news[0].second.id});
  it.run();
}

uint32_t works_of(const group_world& it, uint32_t place) {
  return static_cast<uint32_t>(
    std::count_if(it.works.begin(), it.works.end(), [&](const auto& item) { return item.first == place; }));
}

} // namespace

TEST_CASE("prefill group: each stage runs its layers of every chunk and hands them over itself") {
  for (auto stages : {2u, 3u, 4u}) {
    auto it = group_world{stages};
    auto job = it.job(1, 21);
    it.tell(it.head(), job);
    it.run();
    CHECK_EQ(it.reserves.at(0).stages, job.group.others);
    for (auto place = 0u; place < stages; ++place) {
      CHECK_EQ(works_of(it, place), 3);
      for (const auto& [by, work] : it.works)
        if (by == place) {
          CHECK(work.layers == kernels::stage_layers(group_world::layers, place, stages));
          CHECK_EQ(work.samples.size(), place + 1 == stages && work.start == 16 ? 1 : 0);
        }
    }
    CHECK_EQ(it.written.size(), 6 * group_world::layers);
    for (const auto& [offset, times] : it.written)
      CHECK_EQ(times, 1);
    CHECK_EQ(it.take_outside<token_batch>().at(0).second.updates.at(0).tokens, token_run{500});
    join(it);
    REQUIRE_EQ(it.publishes.size(), 1);
    CHECK_EQ(it.publishes[0].first, it.head());
    CHECK_EQ(it.publishes[0].second.keys.size(), 5);
    CHECK(it.all_empty());
    CHECK(it.take_outside<quiesced>().empty());
  }
}

TEST_CASE("prefill group: chunks follow each other through the stages at the same time") {
  auto it = group_world{2};
  begin(it, it.job(1, 32));
  auto first = take_of<run_prefill>(it.cores[0].local);
  REQUIRE_EQ(first.size(), 2);
  CHECK(take_of<run_prefill>(it.cores[1].local).empty());
  it.serve(0, first[0], 500);
  it.run(false);
  // Chunk 0 is at the head while chunk 1 is at the stage before it.
  auto second = take_of<run_prefill>(it.cores[1].local);
  REQUIRE_EQ(second.size(), 1);
  CHECK_EQ(second[0].work.start, 0);
  it.serve(0, first[1], 500);
  it.serve(1, second[0], 500);
  it.run();
  join(it);
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: the head tells a new Conductor who computes with it, and the stages tell nothing of that") {
  auto it = group_world{3};
  auto job = it.job(1, 21);
  it.tell(it.head(), job);
  for (auto place = 0u; place < 3; ++place) {
    it.tell(place, conductor_hello{the_conductor, 5});
    auto news = it.take_outside<report>();
    REQUIRE_EQ(news.size(), 1);
    const auto& full = news[0].second;
    CHECK(full.full);
    CHECK_EQ(full.active.size(), place == it.head() ? 1 : 0);
    REQUIRE_EQ(full.groups.size(), place == it.head() ? 1 : 0);
    if (place == it.head())
      CHECK_EQ(full.groups[0].stages, job.group.others);
  }
}

TEST_CASE("prefill group: activations that overtake wait for their turn") {
  auto it = group_world{2};
  begin(it, it.job(1, 16));
  auto items = take_of<run_prefill>(it.cores[0].local);
  REQUIRE_EQ(items.size(), 2);
  for (auto& item : items)
    for (auto layer = 0u; layer < 3; ++layer)
      it.tell(0, layer_done{item.work.id, layer});
  it.tell(0, done(items[0].work.id));
  it.tell(0, done(items[1].work.id));
  auto moves = std::vector<move_blocks>{};
  for (auto& move : take_of<move_blocks>(it.cores[0].local))
    if (move.peer == it.who(1))
      moves.push_back(move);
    else
      it.serve(0, move, 500);
  REQUIRE_EQ(moves.size(), 2);
  it.serve(0, moves[1], 500);
  CHECK(take_of<run_prefill>(it.cores[1].local).empty());
  it.serve(0, moves[0], 500);
  auto run = take_of<run_prefill>(it.cores[1].local);
  REQUIRE_EQ(run.size(), 2);
  CHECK_EQ(run[0].work.start, 0);
  CHECK_EQ(run[1].work.start, 8);
}

TEST_CASE("prefill group: a stage fetches its own layers, and all begin where the one with the least does") {
  auto it = group_world{3};
  it.stored = 2;
  it.poorest = 0;
  auto job = it.job(1, 21);
  job.prefix = {{{role::shard, 0, 1, 40}, 3}};
  it.tell(it.head(), job);
  it.run();
  REQUIRE_EQ(it.fetches.size(), 3);
  auto parts = std::map<std::pair<uint64_t, uint64_t>, uint32_t>{};
  for (const auto& order : it.fetches)
    ++parts[{order.offset, order.bytes}];
  CHECK_EQ(parts.size(), 3);
  CHECK_EQ(parts.count({0, 0}), 1); // The head has it all: it may offer it.
  CHECK_EQ(parts.count({0, 2 * group_world::layer_bytes}), 1);
  CHECK_EQ(parts.count({2 * group_world::layer_bytes, 2 * group_world::layer_bytes}), 1);
  for (auto place = 0u; place < 3; ++place)
    CHECK_EQ(std::find_if(it.works.begin(), it.works.end(), [&](const auto& item) { return item.first == place; })
               ->second.start,
             4);
  CHECK_EQ(it.written.size(), 6 * group_world::layers);
  join(it);
  CHECK_EQ(it.publishes.at(0).second.keys.size(), 5); // Also what only the others had.
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: where a stage has no room the head computes alone") {
  auto it = group_world{3, 6};
  auto other = it.job(7, 12);
  other.group = {};
  it.tell(1, other); // Takes half of the slots there.
  auto job = it.job(1, 21);
  it.tell(it.head(), job);
  for (auto i = 0; i < 3; ++i) {
    it.run();
    it.tick_after(300 * ms);
  }
  CHECK_EQ(works_of(it, 0), 0);
  for (const auto& [place, work] : it.works)
    CHECK(work.layers == kernels::layer_span{});
  CHECK_EQ(it.written.size(), 6 * group_world::layers);
  CHECK(it.empty(0));
}

TEST_CASE("prefill group: a silent stage is given up before anything is computed") {
  auto it = group_world{2};
  it.deaf = {0};
  it.tell(it.head(), it.job(1, 21));
  for (auto i = 0; i < 45; ++i) {
    it.run();
    it.tick_after(250 * ms);
  }
  CHECK_EQ(works_of(it, 1), 3);
  it.deaf.clear();
  it.tick_after(300 * ms);
  it.run();
  join(it);
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: a stage that dies ends the attempt, and decode hears of it when all others are quiet") {
  for (auto victim : {0u, 1u}) {
    auto it = group_world{3};
    begin(it, it.job(1, 32));
    auto items = take_of<run_prefill>(it.cores[0].local);
    it.serve(0, items.at(0), 500);
    it.run(false);
    it.kill(victim);
    CHECK(it.take_outside<quiesced>().empty()); // An item runs on at another stage.
    if (victim != 0)
      it.tell(0, done(items.at(1).work.id, {}, errc::cancelled));
    for (auto place = 0u; place < 3; ++place)
      if (place != victim)
        for (const auto& work : take_of<run_prefill>(it.cores[place].local))
          it.tell(place, done(work.work.id, {}, errc::cancelled));
    it.run();
    CHECK_EQ(it.take_outside<job_failed>().at(0).second.reason, ec::peer_lost);
    auto news = it.take_outside<quiesced>();
    REQUIRE_EQ(news.size(), 1);
    CHECK_FALSE(news[0].second.clean);
    CHECK_FALSE(it.fences.empty());
    it.tell(it.head(), quiesced_ack{the_decode, ticket_of(1)});
    CHECK(it.all_empty());
  }
}

TEST_CASE("prefill group: a stage that dies before the group goes costs nothing") {
  auto it = group_world{3};
  auto job = it.job(1, 21);
  it.deaf = {1};
  it.tell(it.head(), job);
  it.run();
  it.kill(1);
  it.run();
  CHECK(it.take_outside<job_failed>().empty());
  CHECK_EQ(works_of(it, 2), 3);
  join(it);
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: with one that died before it was named no group is formed, and nobody waits for it") {
  auto it = group_world{3};
  it.kill(0);
  it.tell(it.head(), it.job(1, 16));
  it.tell(it.head(), cancel{the_session, 0, ticket_of(1)}); // Such a group could never have been closed.
  it.run();
  CHECK(it.all_empty());
  it.tell(it.head(), it.job(2, 16));
  it.run();
  CHECK_EQ(works_of(it, it.head()), 2);
  CHECK_EQ(works_of(it, 1), 0);
  join(it);
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: nobody becomes a stage for a head that died before it asked") {
  auto it = group_world{2};
  it.tell(it.head(), it.job(1, 16));
  auto ask = stage_job{};
  ask.from = group_world::who(1);
  ask.id = ticket_of(2);
  ask.stages = 2;
  ask.chunk_tokens = 8;
  ask.tokens = std::vector<token_id>(8, 1);
  ask.deadline_ns = 60'000 * ms;
  it.kill(1);
  it.tell(0, ask);
  it.run();
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: a cancel lets the stages go one after the other, then says so") {
  auto it = group_world{3};
  begin(it, it.job(1, 32));
  it.tell(it.head(), cancel{the_conductor, the_conductor.incarnation, ticket_of(1)});
  CHECK(it.take_outside<cancelled>().empty());
  CHECK_FALSE(it.empty(1)); // The stage before it may still write there.
  for (const auto& item : take_of<run_prefill>(it.cores[0].local))
    it.tell(0, done(item.work.id, {}, errc::cancelled));
  it.run();
  CHECK_EQ(it.take_outside<cancelled>().at(0).second.id, ticket_of(1));
  CHECK(it.take_outside<quiesced>().at(0).second.clean);
  it.tell(it.head(), quiesced_ack{the_decode, ticket_of(1)});
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: when the head dies each stage asks the one before it, and frees its slots after it") {
  auto it = group_world{3};
  begin(it, it.job(1, 32));
  it.kill(2);
  CHECK_FALSE(it.empty(0));
  CHECK_FALSE(it.empty(1));
  for (const auto& item : take_of<run_prefill>(it.cores[0].local))
    it.tell(0, done(item.work.id, {}, errc::cancelled));
  CHECK(it.empty(0));
  CHECK_FALSE(it.empty(1)); // What the other wrote may still land.
  it.run();
  CHECK(it.empty(1));
  CHECK_EQ(it.fences.back(), std::pair{1u, it.who(0)});
}

TEST_CASE("prefill group: a device that says no ends the attempt") {
  auto it = group_world{2};
  begin(it, it.job(1, 32));
  auto items = take_of<run_prefill>(it.cores[0].local);
  it.tell(0, done(items.at(0).work.id, {}, errc::invalid_argument));
  it.tell(0, done(items.at(1).work.id, {}, errc::cancelled));
  it.run();
  CHECK_EQ(it.take_outside<job_failed>().at(0).second.reason, ec::instance_failed);
  CHECK_EQ(it.take_outside<quiesced>().size(), 1);
  it.tell(it.head(), quiesced_ack{the_decode, ticket_of(1)});
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: a request that ends with its first token needs no hand-over, and is still offered") {
  auto it = group_world{2};
  it.tell(it.head(), it.job(1, 21));
  it.run(true, end_token);
  CHECK(it.take_outside<handed_over>().empty());
  CHECK_EQ(it.publishes.size(), 1);
  CHECK_EQ(it.take_outside<quiesced>().size(), 1);
  it.tell(it.head(), quiesced_ack{the_decode, ticket_of(1)});
  CHECK(it.all_empty());
}

TEST_CASE("prefill group: where activations have no room nobody shares the layers") {
  auto options = prefill_options{};
  options.self = the_prefill;
  options.layout = {2, 4, 64};
  options.slots = 8;
  options.activation_bytes_block = 128; // More than the layer beside it.
  auto core = prefill_core{options};
  core.on(1000 * ms, conductor_hello{the_conductor, the_conductor.incarnation});
  auto sent = core.out.take();
  REQUIRE_EQ(sent.size(), 1);
  CHECK_EQ(std::get<report>(sent[0].second).stages_max, 1);
}
