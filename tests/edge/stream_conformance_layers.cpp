// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/stream_conformance_support.hpp"

#include <algorithm>

namespace perigee::testing::stream_cases {

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
    b.stream_.written(slots(to, fresh_blocks()));
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
  if (!lent)
    return;
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

} // namespace perigee::testing::stream_cases
