// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/stream_conformance.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
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

namespace {

using kernels::decode_work;
using kernels::prefill_work;
using kernels::sample_request;

sample_request greedy() {
  sample_request request;
  request.params.temperature = 0;
  return request;
}

/// `count` slots from `first` on.
std::vector<uint32_t> slots(uint32_t first, uint32_t count) {
  std::vector<uint32_t> out(count);
  std::iota(out.begin(), out.end(), first);
  return out;
}

std::vector<token_id> prompt(const stream_world& world, uint32_t length, uint32_t seed) {
  std::vector<token_id> out;
  for (uint32_t i = 0; i < length; ++i)
    out.push_back(static_cast<token_id>((seed * 7919u + i * 104729u + i * i * 31u) % static_cast<uint32_t>(world.vocabulary())));
  return out;
}

/// Small helpers over one world: submit, wait, and say what lies in the pool.
class bench {
public:
  explicit bench(stream_world& world) : world_(world), stream_(world.stream()) {}

  uint32_t blocks_for(uint32_t tokens) const {
    return stream_.layout().blocks_for(tokens);
  }

  kernels::work_result run(prefill_work work) {
    return answer(submit(std::move(work)));
  }

  template <class Work>
  uint64_t submit(Work work) {
    work.id = ++ids_;
    stream_.submit(std::move(work));
    return ids_;
  }

  /// Of the next item to be submitted.
  uint64_t next_id() const {
    return ids_ + 1;
  }

  kernels::work_result answer(uint64_t id) {
    REQUIRE(world_.pump([&] { return world_.log.done(id); }));
    return world_.log.result(id);
  }

  /// Prefill of a whole prompt into the slots from `first` on; returns the sampled token.
  token_id prefill(const std::vector<token_id>& tokens, uint32_t first) {
    auto result = run({0, tokens, 0, slots(first, blocks_for(static_cast<uint32_t>(tokens.size()))), {greedy()}});
    REQUIRE(result.outcome.ok());
    REQUIRE(result.tokens.size() == 1);
    return result.tokens[0];
  }

  /// `steps` greedy tokens after `token` at `position`, in the slots from `first` on.
  std::vector<token_id> decode(token_id token, uint32_t position, uint32_t first, uint32_t steps) {
    std::vector<token_id> out;
    for (uint32_t i = 0; i < steps; ++i) {
      auto result = answer(submit(decode_work{0, {{token, position + i, slots(first, blocks_for(position + i + 1)), greedy()}}}));
      REQUIRE(result.outcome.ok());
      token = result.tokens.at(0);
      out.push_back(token);
    }
    return out;
  }

  std::vector<std::byte> block(uint32_t slot) const {
    auto from = stream_.pool().subspan(stream_.layout().offset(slot), stream_.layout().block_bytes());
    return {from.begin(), from.end()};
  }

  std::vector<std::byte> pool() const {
    return {stream_.pool().begin(), stream_.pool().end()};
  }

  void copy(std::vector<std::pair<uint32_t, uint32_t>> pairs) {
    CHECK(answer(submit(kernels::copy_work{0, std::move(pairs)})).outcome.ok());
  }

  stream_world& world_;
  kernels::stream& stream_;
  uint64_t ids_ = 0;
};

} // namespace

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

namespace {

/// The first half of the layers in the slots from `from` on, the second in those from `to` on.
struct two_parts {
  bench& b;
  kernels::layer_span lower = kernels::stage_layers(b.stream_.layout().layers, 0, 2);
  kernels::layer_span upper = kernels::stage_layers(b.stream_.layout().layers, 1, 2);

  std::byte* place(uint32_t slot, uint32_t layer) const {
    return b.stream_.pool().data() + b.stream_.layout().offset(slot, layer);
  }

  /// One chunk through both parts; its activations are carried over as a network would.
  kernels::work_result chunk(std::vector<token_id> tokens, uint32_t start, uint32_t from, uint32_t to, bool last) const {
    const auto& layout = b.stream_.layout();
    auto end = start + static_cast<uint32_t>(tokens.size());
    auto blocks = b.blocks_for(end);
    REQUIRE(b.run({0, tokens, start, slots(from, blocks), {}, lower}).outcome.ok());
    auto bytes = b.stream_.activation_bytes_block();
    auto lower_at = kernels::activations_at(layout, lower, bytes);
    auto upper_at = kernels::activations_at(layout, upper, bytes);
    REQUIRE(lower_at.has_value());
    REQUIRE(upper_at.has_value());
    for (auto block = start / layout.block_tokens; block < blocks; ++block)
      std::copy_n(place(from + block, *lower_at), bytes, place(to + block, *upper_at));
    // Tokens mean nothing to the upper layers.
    auto work = prefill_work{0, std::vector<token_id>(tokens.size()), start, slots(to, blocks), {}, upper};
    if (last)
      work.samples = {greedy()};
    return b.run(work);
  }
};

} // namespace

void parts_make_the_whole(stream_world& world) {
  bench b{world};
  auto both = two_parts{b};
  if (b.stream_.activation_bytes_block() == 0) {
    auto refused = b.run({0, {1}, 0, {0}, {}, both.lower});
    CHECK(refused.outcome.code == errc::unsupported);
    return;
  }
  const auto& layout = b.stream_.layout();
  auto length = 3 * layout.block_tokens + 1;
  auto tokens = prompt(world, length, 11);
  auto whole = b.prefill(tokens, 0);
  auto part = std::vector<token_id>(tokens.begin(), tokens.begin() + 2 * layout.block_tokens);
  CHECK(both.chunk(part, 0, 10, 20, false).outcome.ok());
  part.assign(tokens.begin() + 2 * layout.block_tokens, tokens.end());
  auto end = both.chunk(part, 2 * layout.block_tokens, 10, 20, true);
  REQUIRE(end.outcome.ok());
  CHECK(end.tokens == std::vector{whole});
  // Both halves together are the KV of the prompt.
  for (uint32_t block = 0; block < b.blocks_for(length); ++block)
    std::copy_n(both.place(10 + block, 0), both.lower.end * layout.layer_bytes, both.place(20 + block, 0));
  CHECK(b.decode(whole, length, 20, 5) == b.decode(whole, length, 0, 5));
  // Layers are told of, each of its part.
  auto id = b.submit(prefill_work{0, {1}, 0, {30}, {}, both.lower});
  b.answer(id);
  CHECK(world.log.layers(id).front() == 0);
  CHECK(world.log.layers(id).back() == both.lower.end - 1);
  for (auto wrong : {kernels::layer_span{0, layout.layers + 1}, {both.lower.end, both.lower.end}})
    CHECK(b.run({0, {1}, 0, {30}, {}, wrong}).outcome.code == errc::invalid_argument);
  CHECK(b.run({0, {1}, 0, {30}, {greedy()}, both.lower}).outcome.code == errc::invalid_argument);
}

namespace {

/// Two prompts of which the first blocks lie in whole slots from 0 on and the others pass through places of one layer.
struct passing {
  explicit passing(bench& on)
    : b(on), layers(on.stream_.layout().layers), cached(2 * on.stream_.layout().block_tokens),
      length(cached + 2 * on.stream_.layout().block_tokens + 3) {}

  uint32_t fresh_blocks() const {
    return b.blocks_for(length) - b.blocks_for(cached);
  }
  /// Of the `index`-th fresh block; even layers and odd ones have places of their own, from slot `ring` on.
  uint32_t place(uint32_t ring, uint32_t layer, uint32_t index) const {
    return ring * layers + layer % 2 * fresh_blocks() + index;
  }
  prefill_work item(const std::vector<token_id>& tokens, uint32_t prefix, uint32_t ring, uint32_t layer,
                    uint64_t passage) const {
    auto work = prefill_work{0, std::vector<token_id>(tokens.begin() + cached, tokens.end()), cached, {}, {}};
    for (auto block = 0u; block < b.blocks_for(cached); ++block)
      work.blocks.push_back((prefix + block) * layers + layer);
    for (auto index = 0u; index < fresh_blocks(); ++index)
      work.blocks.push_back(place(ring, layer, index));
    work.layers = {layer, layer + 1};
    work.passage = passage;
    if (layer + 1 == layers)
      work.samples = {greedy()};
    return work;
  }
  /// Carries a computed layer to the slots from `to` on, as a network would.
  void carry(uint32_t ring, uint32_t layer, uint32_t to) const {
    const auto& layout = b.stream_.layout();
    auto* pool = b.stream_.pool().data();
    for (auto index = 0u; index < fresh_blocks(); ++index)
      std::copy_n(pool + place(ring, layer, index) * layout.layer_bytes, layout.layer_bytes,
                  pool + layout.offset(to + index, layer));
  }

  bench& b;
  uint32_t layers;
  uint32_t cached;
  uint32_t length;
};

} // namespace

void passages_make_the_whole(stream_world& world) {
  bench b{world};
  if (!b.stream_.by_layer()) {
    auto work = prefill_work{1, {1}, 0, {0}, {}};
    work.passage = 1;
    CHECK(b.run(work).outcome.code == errc::unsupported);
    CHECK(b.run({0, {1}, 0, {0}, {}}).outcome.ok());
    return;
  }
  auto p = passing{b};
  auto tokens = std::vector{prompt(world, p.length, 11), prompt(world, p.length, 12)};
  auto prefix_blocks = b.blocks_for(p.cached);
  // Whole ones in slots 0.. and 8..; their prefixes are what the passages begin on.
  auto whole = std::vector{b.prefill(tokens[0], 0), b.prefill(tokens[1], 8)};
  // Two passages under way at once, and another item between theirs.
  auto first = std::vector<uint64_t>(2);
  auto end = std::vector<token_id>(2);
  for (auto layer = 0u; layer < p.layers; ++layer)
    for (auto i : {0u, 1u}) {
      auto ring = 30 + 6 * i;
      auto work = p.item(tokens[i], 8 * i, ring, layer, layer == 0 ? b.next_id() : first[i]);
      auto id = b.submit(work);
      if (layer == 0)
        first[i] = id;
      auto result = b.answer(id);
      REQUIRE(result.outcome.ok());
      CHECK(world.log.layers(id) == std::vector{layer});
      if (layer + 1 == p.layers)
        end[i] = result.tokens.at(0);
      p.carry(ring, layer, 16 + 6 * i);
      CHECK(b.run({0, {1}, 0, {29}, {}}).outcome.ok());
    }
  CHECK(end == whole);
  for (auto i : {0u, 1u}) {
    auto mixed = slots(8 * i, prefix_blocks); // the prefix, then what was carried out
    for (auto slot : slots(16 + 6 * i, p.fresh_blocks()))
      mixed.push_back(slot);
    auto token = whole[i];
    for (auto position = p.length, step = 0u; step < 4 && b.blocks_for(position + 1) == mixed.size(); ++step, ++position) {
      auto own = b.answer(b.submit(decode_work{0, {{token, position, mixed, greedy()}}}));
      auto other =
        b.answer(b.submit(decode_work{0, {{token, position, slots(8 * i, b.blocks_for(position + 1)), greedy()}}}));
      REQUIRE(own.outcome.ok());
      CHECK(own.tokens == other.tokens);
      token = own.tokens.at(0);
    }
  }
  // All layers in one item: as many places as the slot has.
  auto work = prefill_work{0, tokens[0], 0, {}, {greedy()}};
  for (auto slot : slots(16, b.blocks_for(p.length)))
    work.blocks.push_back(slot * p.layers);
  work.passage = b.next_id();
  auto once = b.run(work);
  REQUIRE(once.outcome.ok());
  CHECK(once.tokens.at(0) == whole[0]);
}

void passages_end_once(stream_world& world) {
  bench b{world};
  if (!b.stream_.by_layer())
    return;
  auto p = passing{b};
  auto tokens = prompt(world, p.length, 13);
  b.prefill(tokens, 0);
  auto begin = [&] {
    auto id = b.submit(p.item(tokens, 0, 30, 0, b.next_id()));
    REQUIRE(b.answer(id).outcome.ok());
    return id;
  };
  auto first = begin();
  b.stream_.cancel(first); // long answered
  CHECK(b.run(p.item(tokens, 0, 30, 1, first)).outcome.code == errc::invalid_argument);
  // With an item of it that waits or runs.
  first = begin();
  auto next = b.submit(p.item(tokens, 0, 30, 1, first));
  b.stream_.cancel(next);
  b.stream_.cancel(first);
  b.answer(next);
  CHECK(b.run(p.item(tokens, 0, 30, 1, first)).outcome.code == errc::invalid_argument);
  // As many as may be under way, and not one more; what ends makes room.
  auto short_item = [&] {
    auto work = prefill_work{0, {1}, 0, {30 * p.layers}, {}, {0, 1}};
    work.passage = b.next_id();
    return work;
  };
  auto open = std::vector<uint64_t>{};
  for (auto i = 0u; i < kernels::stream_passages_max; ++i) {
    open.push_back(b.submit(short_item()));
    CHECK(b.answer(open.back()).outcome.ok());
  }
  CHECK(b.run(short_item()).outcome.code == errc::exhausted);
  b.stream_.cancel(open[7]);
  CHECK(b.run(short_item()).outcome.ok());
}

void wrong_passages_are_refused(stream_world& world) {
  bench b{world};
  if (!b.stream_.by_layer())
    return;
  auto p = passing{b};
  auto tokens = prompt(world, p.length, 14);
  b.prefill(tokens, 0);
  auto first = b.submit(p.item(tokens, 0, 30, 0, b.next_id()));
  REQUIRE(b.answer(first).outcome.ok());
  auto before = b.pool();
  auto refuse = [&](prefill_work work) { CHECK(b.run(std::move(work)).outcome.code == errc::invalid_argument); };
  refuse(p.item(tokens, 0, 30, 1, first + 1000)); // nobody's
  refuse(p.item(tokens, 0, 30, 0, first));        // it has begun
  auto unknown = p.item(tokens, 0, 30, 0, b.next_id() + 1);
  refuse(unknown); // not its own id
  auto beyond = p.item(tokens, 0, 30, 1, first);
  beyond.blocks.back() = b.stream_.slots() * p.layers;
  refuse(beyond);
  auto twice = p.item(tokens, 0, 30, 1, first);
  twice.blocks.back() = twice.blocks.front();
  refuse(twice);
  auto few = p.item(tokens, 0, 30, 1, first);
  few.blocks.pop_back();
  refuse(few);
  // Layers that do not end in their slot, and places that overlap.
  auto wide = p.item(tokens, 0, 30, 0, b.next_id());
  wide.layers = {0, 2};
  wide.samples.clear();
  for (auto i = 0u; i < wide.blocks.size(); ++i)
    wide.blocks[i] = i * p.layers + p.layers - 1;
  refuse(wide);
  CHECK(b.pool() == before);
  for (auto layer = 1u; layer < p.layers; ++layer)
    CHECK(b.run(p.item(tokens, 0, 30, layer, first)).outcome.ok()); // It goes on as if nothing had been.
  // A lent block is read, and never written.
  auto memory = b.pool();
  memory.resize(2 * b.stream_.layout().block_bytes());
  auto lent = b.stream_.lend(memory);
  REQUIRE(lent.has_value());
  auto plain = p.item(tokens, 0, 30, 0, b.next_id());
  REQUIRE(b.run(plain).outcome.ok());
  auto ring = std::vector<std::byte>{};
  for (auto slot = 30u; slot < 36; ++slot)
    for (auto byte : b.block(slot))
      ring.push_back(byte);
  auto borrowing = p.item(tokens, *lent, 36, 0, b.next_id());
  REQUIRE(b.run(borrowing).outcome.ok());
  auto other = std::vector<std::byte>{};
  for (auto slot = 36u; slot < 42; ++slot)
    for (auto byte : b.block(slot))
      other.push_back(byte);
  auto written = static_cast<std::ptrdiff_t>(p.fresh_blocks() * b.stream_.layout().layer_bytes);
  CHECK(std::equal(ring.begin(), ring.begin() + written, other.begin()));
  auto writing = p.item(tokens, 0, 30, 0, b.next_id());
  writing.blocks.back() = *lent * p.layers;
  refuse(writing);
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
