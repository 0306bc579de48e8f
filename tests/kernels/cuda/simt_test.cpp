// SPDX-License-Identifier: Apache-2.0
// The emulator by itself: what the kernels' tests stand on.
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/emulation/simt.hpp"
#include "tests/kernels/cuda/support.hpp"
#include "transport/base/status.hpp"

#include <algorithm>

using namespace perigee;
using namespace perigee::kernels::cuda;
using namespace perigee::kernels::cuda::test;

TEST_CASE("emulation: every thread of every block runs once and knows its place") {
  auto seen = std::vector<uint32_t>(2 * 3 * 2 * 96);
  emulation::run_grid({2, 3, 2}, 96, 0, [&] {
    CHECK_EQ(threads(), 96);
    ++seen[((block_z() * 3 + block_y()) * 2 + block_x()) * 96 + thread()];
  });
  for (auto count : seen)
    CHECK_EQ(count, 1);
}

TEST_CASE("emulation: nothing passes a barrier before everything in front of it is done") {
  auto result = std::vector<uint32_t>(2 * 64);
  emulation::run_grid({2, 1, 1}, 64, 64 * 4, [&] {
    auto* words = static_cast<uint32_t*>(shared_memory());
    words[thread()] = thread();
    sync_block();
    auto other = words[63 - thread()];
    sync_block();
    words[thread()] = other * 2;
    sync_block();
    result[block_x() * 64 + thread()] = words[(thread() + 1) % 64];
  });
  for (auto i = 0u; i < 128; ++i)
    CHECK_EQ(result[i], 2 * (63 - (i % 64 + 1) % 64));
}

TEST_CASE("emulation: a missing barrier shows, because odd blocks run their threads in reverse") {
  uint32_t result[2][64];
  emulation::run_grid({2, 1, 1}, 64, 64 * 4, [&] {
    auto* words = static_cast<uint32_t*>(shared_memory());
    words[thread()] = 1;
    result[block_x()][thread()] = words[(thread() + 1) % 64];
  });
  auto stale = [&](uint32_t block) { return std::ranges::count_if(result[block], [](uint32_t x) { return x != 1; }); };
  CHECK_EQ(stale(0), 63);
  CHECK_EQ(stale(1), 1);
}

TEST_CASE("emulation: a barrier that not all threads reach is reported, and the emulator goes on") {
  auto unequal = [] {
    if (thread() < 40)
      sync_block();
  };
  CHECK_THROWS_AS(emulation::run_grid({1, 1, 1}, 64, 0, unequal), failure);
  auto partial = [] {
    if (lane() != 3)
      shuffle_xor(1.0f, 1);
  };
  CHECK_THROWS_AS(emulation::run_grid({1, 1, 1}, 32, 0, partial), failure);
  CHECK_THROWS_AS(emulation::run_grid({1, 1, 1}, 33, 0, partial), failure);
  auto count = 0;
  emulation::run_grid({1, 1, 1}, 32, 0, [&] { ++count; });
  CHECK_EQ(count, 32);
}

TEST_CASE("emulation: shuffles give the value of the named lane, in each warp by itself") {
  emulation::run_grid({2, 1, 1}, 64, 0, [] {
    for (auto mask = 1u; mask < 32; ++mask)
      CHECK_EQ(shuffle_xor(static_cast<float>(thread()), mask), static_cast<float>(thread() ^ mask));
    CHECK_EQ(shuffle_xor(uint64_t{thread()} << 40, 5), uint64_t{thread() ^ 5} << 40);
    CHECK_EQ(warp_sum(1.0f + static_cast<float>(warp())), 32.0f * (1.0f + static_cast<float>(warp())));
  });
}

TEST_CASE("emulation: a block's sum is in every thread") {
  emulation::run_grid({2, 1, 1}, 160, 5 * 4, [] {
    for (auto again = 0; again < 3; ++again)
      CHECK_EQ(block_sum(static_cast<float>(thread()), static_cast<float*>(shared_memory())), 160.0f * 159 / 2);
  });
}

TEST_CASE("emulation: background copies are there after the wait for their group and not before") {
  alignas(16) float source[12];
  for (auto i = 0; i < 12; ++i)
    source[i] = static_cast<float>(i);
  emulation::run_grid({1, 1, 1}, 32, 48, [&] {
    auto* to = static_cast<float*>(shared_memory());
    if (thread() == 0) {
      copy16_async(to, source, true);
      copy_commit();
      copy16_async(to + 4, source + 4, true);
      copy16_async(to + 8, source + 8, false);
      copy_commit();
      CHECK(std::isnan(to[1]));
      copy_wait<1>();
      CHECK_EQ(to[1], 1);
      CHECK(std::isnan(to[5]));
      copy_wait<0>();
      CHECK_EQ(to[5], 5);
      CHECK_EQ(to[9], 0);
    }
  });
}

TEST_CASE("emulation: one warp's products by the documented fragments are a plain matrix product") {
  auto random = numbers{1};
  auto a = random.halves(16 * 16);
  auto b = random.halves(16 * 8); // [k][n]
  auto c = random.floats(16 * 8);
  auto expected = c;
  for (auto i = 0; i < 16; ++i)
    for (auto j = 0; j < 8; ++j)
      for (auto k = 0; k < 16; ++k)
        expected[i * 8 + j] += kernels::bf16_to_f32(a[i * 16 + k]) * kernels::bf16_to_f32(b[k * 8 + j]);
  auto result = std::vector<float>(16 * 8);
  emulation::run_grid({1, 1, 1}, 32, 16 * 8 * 2, [&] {
    // b in shared memory, a row for each k
    auto* tile = static_cast<uint16_t*>(shared_memory());
    for (auto i = thread(); i < 16 * 8; i += 32)
      tile[i] = b[i];
    sync_block();
    auto group = lane() / 4;
    auto pair = lane() % 4 * 2;
    auto word = [&](uint32_t row, uint32_t column) {
      return a[row * 16 + column] | uint32_t{a[row * 16 + column + 1]} << 16;
    };
    uint32_t left[4] = {word(group, pair), word(group + 8, pair), word(group, pair + 8), word(group + 8, pair + 8)};
    uint32_t right[4];
    load_matrices_transposed(right, tile + lane() % 16 * 8);
    CHECK_EQ(right[0], right[2]); // lanes 16.. name the same rows again
    CHECK_EQ(right[1], right[3]);
    float sum[4] = {c[group * 8 + pair], c[group * 8 + pair + 1], c[(group + 8) * 8 + pair],
                    c[(group + 8) * 8 + pair + 1]};
    multiply_add(sum, left, right[0], right[1]);
    for (auto i = 0u; i < 4; ++i)
      result[(group + i / 2 * 8) * 8 + pair + i % 2] = sum[i];
  });
  CHECK_LT(distance(result, expected), 1e-6);
}
