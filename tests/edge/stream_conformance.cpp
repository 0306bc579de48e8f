// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/stream_conformance_support.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

namespace perigee::testing {

void stream_log::layer_done(uint64_t id, uint32_t layer) {
  auto lock = std::lock_guard{mutex_};
  events_.push_back({id, false, layer, {}});
}

void stream_log::work_done(kernels::work_result result) {
  auto lock = std::lock_guard{mutex_};
  auto id = result.id;
  events_.push_back({id, true, 0, std::move(result)});
}

std::vector<stream_log::event> stream_log::events() const {
  auto lock = std::lock_guard{mutex_};
  return events_;
}

std::vector<kernels::work_result> stream_log::results() const {
  auto lock = std::lock_guard{mutex_};
  std::vector<kernels::work_result> out;
  for (const auto& one : events_)
    if (one.done)
      out.push_back(one.result);
  return out;
}

bool stream_log::done(uint64_t id) const {
  auto lock = std::lock_guard{mutex_};
  return std::any_of(events_.begin(), events_.end(), [id](const auto& one) { return one.done && one.id == id; });
}

kernels::work_result stream_log::result(uint64_t id) const {
  for (auto& one : results())
    if (one.id == id)
      return one;
  FAIL("item " << id << " has not been answered");
  return {};
}

std::vector<uint32_t> stream_log::layers(uint64_t id) const {
  auto lock = std::lock_guard{mutex_};
  std::vector<uint32_t> out;
  for (const auto& one : events_)
    if (!one.done && one.id == id)
      out.push_back(one.layer);
  return out;
}

bool wait_for_stream(const std::function<bool()>& done) {
  using namespace std::chrono_literals;
  auto end = std::chrono::steady_clock::now() + 20s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end)
      return false;
    std::this_thread::sleep_for(1ms); // a stream on threads of its own rings no bell
  }
  return true;
}

namespace stream_cases {

void items_are_answered_once_in_order(stream_world& world) {
  bench b{world};
  std::vector<uint64_t> expected;
  for (uint32_t i = 0; i < 10; ++i) {
    auto tokens = prompt(world, 1 + i, i);
    expected.push_back(b.submit(prefill_work{0, tokens, 0, slots(0, b.blocks_for(1 + i)), {greedy()}}));
    expected.push_back(b.submit(kernels::copy_work{0, {{0, 20 + i}}}));
    expected.push_back(b.submit(decode_work{0, {{1, 0, {40}, greedy()}}}));
    expected.push_back(b.submit(prefill_work{0, {}, 0, {0}, {}})); // invalid: answered in its place
  }
  b.answer(expected.back());
  std::vector<uint64_t> order;
  for (const auto& result : world.log.results())
    order.push_back(result.id);
  CHECK(order == expected);
}

void layers_come_in_order(stream_world& world) {
  bench b{world};
  auto first = b.submit(prefill_work{0, prompt(world, 9, 1), 0, slots(0, b.blocks_for(9)), {}});
  auto second = b.submit(prefill_work{0, prompt(world, 5, 2), 0, slots(20, b.blocks_for(5)), {}});
  CHECK(b.answer(second).tokens.empty());
  std::vector<uint32_t> all(b.stream_.layout().layers);
  std::iota(all.begin(), all.end(), 0u);
  CHECK(world.log.layers(first) == all);
  CHECK(world.log.layers(second) == all);
  auto events = world.log.events();
  REQUIRE(events.size() == 2 * (all.size() + 1));
  CHECK(events[all.size()].done);
  CHECK(events[all.size()].id == first);
  CHECK(events.back().done);
}

void chunks_make_the_whole(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 61, 3);
  auto whole = b.prefill(tokens, 0);
  auto blocks = slots(20, b.blocks_for(61));
  token_id last = -1;
  uint32_t start = 0;
  for (uint32_t length : {1u, 15u, 3u, 17u, 25u}) {
    prefill_work work{0, shared_list<token_id>{tokens}.part(start, length), start, blocks, {}};
    if (start + length == 61)
      work.samples = {greedy()};
    auto result = b.run(work);
    REQUIRE(result.outcome.ok());
    last = result.tokens.empty() ? last : result.tokens[0];
    start += length;
  }
  CHECK(last == whole);
  CHECK(b.decode(last, 61, 20, 8) == b.decode(whole, 61, 0, 8));
}

void decode_goes_on_where_prefill_ended(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 21, 4);
  auto first = b.prefill(tokens, 0);
  auto more = b.decode(first, 21, 0, 10);
  // The same text in one prefill ends in the same token.
  tokens.push_back(first);
  tokens.insert(tokens.end(), more.begin(), more.end() - 1);
  CHECK(b.prefill(tokens, 20) == more.back());
}

void a_batch_is_its_rows(stream_world& world) {
  bench b{world};
  decode_work batch;
  std::vector<token_id> alone;
  for (uint32_t i = 0; i < 4; ++i) {
    auto tokens = prompt(world, 5 + 3 * i, 10 + i);
    auto position = static_cast<uint32_t>(tokens.size());
    auto token = b.prefill(tokens, 10 * i);
    batch.rows.push_back({token, position, slots(10 * i, b.blocks_for(position + 1)), greedy()});
    alone.push_back(b.decode(token, position, 10 * i, 1)[0]);
  }
  auto result = b.answer(b.submit(batch));
  REQUIRE(result.outcome.ok());
  CHECK(result.tokens == alone);
}

void copies_are_whole_blocks(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 30, 5);
  auto first = b.prefill(tokens, 0);
  auto before = b.pool();
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  for (uint32_t slot = 0; slot < b.blocks_for(30); ++slot)
    pairs.emplace_back(slot, 20 + slot);
  b.copy(pairs);
  auto block_bytes = b.stream_.layout().block_bytes();
  for (auto [from, to] : pairs) {
    CHECK(b.block(from) == b.block(to));
    std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(from * block_bytes), block_bytes,
                before.begin() + static_cast<std::ptrdiff_t>(to * block_bytes));
  }
  CHECK(b.pool() == before);
  CHECK(b.decode(first, 30, 20, 3) == b.decode(first, 30, 0, 3));
}

void earlier_positions_are_read_from_the_pool(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 40, 6);
  auto token = b.prefill(tokens, 0);
  b.prefill(prompt(world, 40, 7), 20);
  auto slot = b.blocks_for(41) - 1;
  b.decode(token, 40, 0, 1);
  auto right = b.block(slot);
  b.copy({{20, 0}}); // the first block of another prompt
  b.decode(token, 40, 0, 1);
  CHECK(b.block(slot) != right);
}

void what_is_written_from_outside_is_read(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 2 * b.stream_.layout().block_tokens, 9);
  auto position = static_cast<uint32_t>(tokens.size());
  auto token = b.prefill(tokens, 0);
  b.prefill(prompt(world, position, 10), 20);
  auto expected = b.decode(token, position, 0, 5);
  // Another stream's blocks arrive where earlier ones were.
  for (uint32_t i = 0; i < 2; ++i) {
    auto from = b.block(i);
    std::copy(from.begin(), from.end(),
              b.stream_.pool().begin() + static_cast<std::ptrdiff_t>(b.stream_.layout().offset(20 + i)));
  }
  b.stream_.written({20, 21});
  CHECK(b.decode(token, position, 20, 5) == expected);
  CHECK(b.block(20) == b.block(0));
}

void lent_blocks_are_read_and_never_written(stream_world& world) {
  bench b{world};
  auto own = b.stream_.slots();
  auto block = b.stream_.layout().block_tokens;
  auto tokens = prompt(world, 5 * block + 2, 11);
  auto position = static_cast<uint32_t>(tokens.size());
  auto token = b.prefill(tokens, 0);
  auto expected = b.decode(token, position, 0, 3);
  // The first two blocks lie in one piece of memory, the next three in another.
  auto copy_of = [&](uint32_t slot, uint32_t count) {
    auto all = b.pool();
    auto from = all.begin() + static_cast<std::ptrdiff_t>(b.stream_.layout().offset(slot));
    return std::vector<std::byte>(from, from + static_cast<std::ptrdiff_t>(count * b.stream_.layout().block_bytes()));
  };
  const auto some = copy_of(0, 2);
  const auto more = copy_of(2, 3);
  auto lent = some;
  auto lent_more = more;
  auto first = b.stream_.lend(lent);
  if (!first) {
    CHECK(b.answer(b.submit(decode_work{0, {{1, 0, {own}, greedy()}}})).outcome.code == errc::invalid_argument);
    return;
  }
  CHECK(*first == own);
  CHECK(b.stream_.lend(lent_more) == own + 2);
  auto sequence = [&](uint32_t tail) { return std::vector<uint32_t>{own, own + 1, own + 2, own + 3, own + 4, tail}; };
  auto tail = shared_list<token_id>{tokens}.part(5 * block, 2);
  for (uint32_t slot : {30, 31}) {
    auto result = b.run({0, tail, 5 * block, sequence(slot), {greedy()}});
    REQUIRE(result.outcome.ok());
    CHECK(result.tokens == std::vector<token_id>{token});
    CHECK(b.block(slot) != b.block(29));
  }
  auto next = token;
  for (uint32_t step = 0; step < 3; ++step) {
    if ((position + step) % block == 0)
      break; // It would need another block.
    auto work = decode_work{};
    for (uint32_t slot : {30, 31})
      work.rows.push_back({next, position + step, sequence(slot), greedy()});
    auto result = b.answer(b.submit(std::move(work)));
    REQUIRE(result.outcome.ok());
    next = expected[step];
    CHECK(result.tokens == std::vector<token_id>{next, next});
  }
  b.copy({{own + 4, 32}});
  CHECK(b.block(32) == b.block(4));

  auto before = b.pool();
  auto refuse = [&](auto work) {
    auto result = b.answer(b.submit(std::move(work)));
    CHECK(result.outcome.code == errc::invalid_argument);
  };
  refuse(prefill_work{0, tail, 5 * block - 2, sequence(30), {}});
  refuse(prefill_work{0, {1}, 0, {own}, {}});
  refuse(prefill_work{0, {1}, block, {own + 5, 30}, {}});
  refuse(decode_work{0, {{1, 5 * block - 1, sequence(30), greedy()}}});
  refuse(decode_work{0, {{1, block, {own + 5, 30}, greedy()}}});
  refuse(kernels::copy_work{0, {{30, own}}});
  refuse(kernels::copy_work{0, {{own + 5, 30}}});
  CHECK(b.pool() == before);
  CHECK(lent == some);
  CHECK(lent_more == more);
}

void choices_are_sampled_apart(stream_world& world) {
  bench b{world};
  auto tokens = prompt(world, 12, 8);
  std::vector<sample_request> requests(24);
  for (uint32_t i = 0; i < requests.size(); ++i) {
    requests[i].params.seed = 5;
    requests[i].choice = i;
  }
  requests[20] = requests[3];
  requests[21] = greedy();
  requests[22] = greedy();
  auto first = b.run({0, tokens, 0, slots(0, b.blocks_for(12)), requests});
  auto again = b.run({0, tokens, 0, slots(20, b.blocks_for(12)), requests});
  REQUIRE(first.outcome.ok());
  REQUIRE(first.tokens.size() == requests.size());
  CHECK(first.tokens == again.tokens);
  CHECK(first.tokens[20] == first.tokens[3]);
  CHECK(first.tokens[21] == first.tokens[22]);
  CHECK(std::set(first.tokens.begin(), first.tokens.begin() + 20).size() > 1);
}

void invalid_items_are_refused(stream_world& world) {
  bench b{world};
  auto before = b.pool();
  auto beyond = b.stream_.slots();
  auto block = b.stream_.layout().block_tokens;
  auto refuse = [&](auto work) {
    auto result = b.answer(b.submit(std::move(work)));
    CHECK(result.outcome.code == errc::invalid_argument);
    CHECK(!result.outcome.context.empty());
    CHECK(result.tokens.empty());
  };
  refuse(prefill_work{0, {1}, 0, {beyond}, {}});
  refuse(prefill_work{0, {1}, 0, {}, {}});
  refuse(prefill_work{0, {}, 0, {0}, {}});
  refuse(prefill_work{0, prompt(world, block + 1, 1), 0, {0}, {}});
  refuse(prefill_work{0, {1}, block, {0}, {}});
  refuse(prefill_work{0, {world.vocabulary()}, 0, {0}, {}});
  refuse(prefill_work{0, {-1}, 0, {0}, {}});
  refuse(decode_work{0, {}});
  refuse(decode_work{0, {{1, 0, {beyond}, greedy()}}});
  refuse(decode_work{0, {{1, block, {0}, greedy()}}});
  refuse(decode_work{0, {{world.vocabulary(), 0, {0}, greedy()}}});
  refuse(decode_work{0, {{1, 0, {1}, greedy()}, {1, 0xffffffff, {0}, greedy()}}});
  refuse(kernels::copy_work{0, {{0, beyond}}});
  refuse(kernels::copy_work{0, {{0, 1}, {beyond, 0}}});
  CHECK(b.pool() == before);
}

void a_full_queue_refuses(stream_world& world) {
  bench b{world};
  uint64_t last = 0;
  for (int i = 0; i < 1000; ++i)
    last = b.submit(prefill_work{0, prompt(world, 60, 1), 0, slots(0, b.blocks_for(60)), {}});
  b.answer(last);
  auto results = world.log.results();
  REQUIRE(results.size() == 1000);
  auto count = [&](errc code) {
    return std::count_if(results.begin(), results.end(), [&](const auto& one) { return one.outcome.code == code; });
  };
  CHECK(count(errc::none) >= 64);
  CHECK(count(errc::exhausted) >= 1);
  CHECK(count(errc::none) + count(errc::exhausted) == 1000);
  for (size_t i = 0; i < 64; ++i)
    CHECK(results[i].outcome.ok());
  CHECK(b.run({0, {1}, 0, {0}, {}}).outcome.ok());
}

void a_waiting_item_can_be_cancelled(stream_world& world) {
  bench b{world};
  for (int i = 0; i < 30; ++i)
    b.submit(prefill_work{0, prompt(world, 60, 1), 0, slots(0, b.blocks_for(60)), {}});
  auto before = b.block(40);
  auto victim = b.submit(prefill_work{0, {1}, 0, {40}, {}});
  auto after = b.submit(prefill_work{0, {1}, 0, {41}, {}});
  b.stream_.cancel(victim);
  b.stream_.cancel(victim);
  b.stream_.cancel(4711); // nothing
  CHECK(b.answer(after).outcome.ok());
  CHECK(world.log.result(victim).outcome.code == errc::cancelled);
  CHECK(world.log.layers(victim).empty());
  CHECK(b.block(40) == before);
  b.stream_.cancel(victim); // too late
  CHECK(b.run({0, {1}, 0, {0}, {}}).outcome.ok());
}

void a_running_item_can_be_cancelled(stream_world& world) {
  bench b{world};
  auto id = b.submit(prefill_work{0, prompt(world, 60, 1), 0, slots(0, b.blocks_for(60)), {greedy()}});
  REQUIRE(world.pump([&] { return !world.log.layers(id).empty(); }));
  b.stream_.cancel(id);
  auto result = b.answer(id);
  auto all_layers = world.log.layers(id).size() == b.stream_.layout().layers;
  if (!result.outcome.ok()) {
    CHECK(result.outcome.code == errc::cancelled);
    CHECK(result.tokens.empty());
  } else {
    CHECK(all_layers);
  }
  auto left = b.pool();
  b.copy({{0, 30}});
  std::copy_n(left.begin(), b.stream_.layout().block_bytes(),
              left.begin() + static_cast<std::ptrdiff_t>(b.stream_.layout().offset(30)));
  CHECK(b.pool() == left); // nothing of it was written after its answer
}

} // namespace stream_cases

} // namespace perigee::testing
