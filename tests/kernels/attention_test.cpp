// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/ops.hpp"
#include "tests/kernels/ops_support.hpp"

#include <cstring>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cpu;
using namespace perigee::kernels::test;

namespace {

/// Random queries over a random pool; blocks in random slots, what lies behind the sequence is not a number.
struct attention_fixture {
  attention_fixture(random_numbers& random, dtype kv)
    : attention_fixture(random, kv, 2 * random.from(1, 50), random.from(0, 1) == 0 ? 16 : random.from(1, 40)) {}
  attention_fixture(random_numbers& random, dtype kv, uint32_t head, uint32_t block)
    : type(kv), head_dim(head), block_tokens(block) {
    heads = random.from(1, 4);
    units = heads * random.from(1, attention_units_max / heads);
    auto longest = random.from(1, 150);
    auto count = (longest + block_tokens - 1) / block_tokens;
    auto head_bytes = size_t{head_dim} * block_tokens * size_of(type);
    pool.assign(2 * heads * head_bytes * count, std::byte{0xff});
    for (auto i = 0u; i < count; ++i)
      slots.push_back(count - 1 - i);
    for (auto position = 0u; position < longest; ++position)
      for (auto head = 0u; head < heads; ++head) {
        auto* k = pool.data() + (2 * heads * slots[position / block_tokens] + head) * head_bytes;
        auto* v = k + heads * head_bytes;
        auto row = random.stored(type, 2 * size_t{head_dim});
        auto at = position % block_tokens;
        auto size = size_of(type);
        for (auto d = 0u; d < head_dim; ++d) {
          std::memcpy(k + (size_t{d} * block_tokens + at) * size, row.data() + d * size, size);
          std::memcpy(v + (size_t{at} * head_dim + d) * size, row.data() + (head_dim + d) * size, size);
        }
      }
    q = random.floats(size_t{units} * head_dim);
    for (auto u = 0u; u < units; ++u) {
      lengths.push_back(u == 0 ? longest : random.from(1, longest));
      starts.push_back(random.from(0, 1) == 0 ? 0 : random.from(0, lengths.back() - 1));
    }
    k_bytes = head_bytes;
  }

  /// All units, or one of them by itself.
  std::vector<float> run(const ops& table) {
    return run(table, 0, units, 0, heads);
  }
  std::vector<float> run_alone(const ops& table, uint32_t unit) {
    return run(table, unit, 1, unit / (units / heads), 1);
  }
  std::vector<float> run(const ops& table, uint32_t first, uint32_t count, uint32_t head_first, uint32_t head_count) {
    auto out = std::vector<float>(size_t{count} * head_dim);
    auto queries = std::vector<const float*>{};
    auto outputs = std::vector<float*>{};
    for (auto u = 0u; u < count; ++u) {
      queries.push_back(q.data() + size_t{first + u} * head_dim);
      outputs.push_back(out.data() + size_t{u} * head_dim);
    }
    auto places = std::vector<std::byte*>{};
    for (auto slot : slots)
      places.push_back(pool.data() + slot * 2 * heads * k_bytes);
    auto scratch = aligned_buffer<float>{attention_scratch_floats(head_dim)};
    auto task = attention_task{
      queries.data(), outputs.data(), starts.data() + first, lengths.data() + first, count,
      head_dim,       block_tokens,   places.data(),         head_first * k_bytes,   (heads + head_first) * k_bytes,
      scratch.data(), head_count};
    (type == dtype::f32 ? table.attention_f32 : type == dtype::f16 ? table.attention_f16 : table.attention_bf16)(task);
    return out;
  }

  dtype type;
  uint32_t head_dim = 0;
  uint32_t block_tokens = 0;
  uint32_t heads = 0; ///< of K and V
  uint32_t units = 0;
  size_t k_bytes = 0; ///< of one head in a block
  std::vector<std::byte> pool;
  std::vector<uint32_t> slots;
  std::vector<float> q;
  std::vector<uint32_t> starts;
  std::vector<uint32_t> lengths;
};

} // namespace

TEST_CASE(
  "ops: attention of every instruction set and type agrees with the reference, and units do not affect each other") {
  auto random = random_numbers{5};
  for (auto round = uint64_t{0}; round < testing::seeds(100); ++round)
    for (auto type : all_types) {
      auto fixture = attention_fixture{random, type};
      CAPTURE(fixture.head_dim);
      CAPTURE(fixture.block_tokens);
      CAPTURE(fixture.heads);
      CAPTURE(fixture.units);
      auto expected = fixture.run(scalar_ops);
      for (const auto* fast : fast_sets()) {
        CAPTURE(fast->name);
        auto together = fixture.run(*fast);
        REQUIRE_LE(largest_difference(expected, together), 2e-5f);
        for (auto u = 0u; u < fixture.units; ++u) {
          auto alone = fixture.run_alone(*fast, u);
          REQUIRE(std::memcmp(alone.data(), together.data() + size_t{u} * fixture.head_dim, 4 * fixture.head_dim) == 0);
        }
      }
    }
}

TEST_CASE("ops: attention with bf16 dot products agrees with the reference, and units do not affect each other") {
  if (best_instruction_set() < instruction_set::avx512_bf16)
    return testing::skip("the processor has no AVX-512 BF16");
  auto table = ops_for(instruction_set::avx512_bf16);
  auto random = random_numbers{6};
  for (auto round = uint64_t{0}; round < testing::seeds(100); ++round) {
    auto fixture = attention_fixture{random, dtype::bf16, 16 * random.from(1, 9), 16 * random.from(1, 3)};
    CAPTURE(fixture.head_dim);
    CAPTURE(fixture.block_tokens);
    CAPTURE(fixture.units);
    auto expected = fixture.run(scalar_ops);
    table.attention_bf16 = table.attention_bf16_dot;
    auto together = fixture.run(table);
    REQUIRE_LE(largest_difference(expected, together), 1.5e-2f); // queries and weights are rounded to 8 bits
    for (auto u = 0u; u < fixture.units; ++u) {
      auto alone = fixture.run_alone(table, u);
      REQUIRE(std::memcmp(alone.data(), together.data() + size_t{u} * fixture.head_dim, 4 * fixture.head_dim) == 0);
    }
  }
}
