// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/launch.hpp"
#include "tests/kernels/cuda/support.hpp"

#include <algorithm>
#include <array>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cuda::test;
namespace cuda = perigee::kernels::cuda;

namespace {

struct shape {
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t block_shift;
  uint32_t window;
};

struct sequence {
  uint32_t start;
  uint32_t rows;
};

/// Random q, K and V of some sequences whose blocks lie scattered over a pool. Blocks hold what is not a number behind
/// a context's end, as blocks do that were another's before.
class attention_case {
public:
  attention_case(cuda::machine& on, const shape& how, const std::vector<sequence>& all, uint64_t seed)
    : on_(on), how_(how) {
    auto random = numbers{seed};
    auto tokens = 1u << how.block_shift;
    layer_ = 2 * size_t{how.kv_heads} * how.head_dim * tokens;
    auto rows = 0u;
    for (auto [start, count] : all) {
      sequences_.push_back({rows, count, start, static_cast<uint32_t>(tables_.size())});
      rows += count;
      for (auto i = 0u; i < (start + count + tokens - 1) / tokens; ++i)
        tables_.push_back(static_cast<uint32_t>(tables_.size()));
    }
    for (auto i = tables_.size(); i > 1; --i)
      std::swap(tables_[i - 1], tables_[random.below(static_cast<uint32_t>(i))]);
    rows_ = rows;
    stride_ = (how.heads + 2 * how.kv_heads) * how.head_dim;
    q_ = random.halves(size_t{rows} * stride_, 2);
    pool_.assign(tables_.size() * layer_, 0xffff);
    for (const auto& one : sequences_)
      for (auto position = 0u; position < one.start + one.rows; ++position)
        for (auto head = 0u; head < how.kv_heads; ++head)
          for (auto d = 0u; d < how.head_dim; ++d) {
            k(one, position, head, d) = f32_to_bf16(random.normal());
            v(one, position, head, d) = f32_to_bf16(random.normal());
          }
  }

  /// The same, for some rows of the only sequence.
  attention_case rows(uint32_t first, uint32_t count) const {
    auto result = *this;
    result.sequences_[0].start += first;
    result.sequences_[0].rows = count;
    result.q_.erase(result.q_.begin(), result.q_.begin() + static_cast<ptrdiff_t>(size_t{first} * stride_));
    result.rows_ = count;
    return result;
  }

  std::vector<float> run(bool split) {
    auto q = on_device(on_, q_);
    auto pool = on_device(on_, pool_);
    auto tables = on_device(on_, tables_);
    auto list = on_device(on_, sequences_);
    auto out = on_device(on_, std::vector<uint16_t>(size_t{rows_} * how_.heads * how_.head_dim));
    auto args = cuda::attend_args{};
    auto rows_max = 0u;
    for (const auto& one : sequences_) {
      rows_max = std::max(rows_max, one.rows);
      args.splits = std::max(args.splits, cuda::split_count(one.start + one.rows));
    }
    ++args.splits; // a batch may hold longer contexts
    auto partial = cuda::device_array<float>{on_, size_t{rows_} * how_.heads * args.splits * how_.head_dim};
    auto tops = cuda::device_array<float>{on_, size_t{rows_} * how_.heads * args.splits * 2};
    args.q = q.data();
    args.out = out.data();
    args.sequences = list.data();
    args.tables = tables.data();
    args.layer = reinterpret_cast<const std::byte*>(pool.data());
    args.block_bytes = layer_ * 2;
    args.v_offset = layer_;
    args.partial = partial.data();
    args.partial_tops = tops.data();
    args.q_stride = stride_;
    args.heads = how_.heads;
    args.kv_heads = how_.kv_heads;
    args.head_dim = how_.head_dim;
    args.block_shift = how_.block_shift;
    args.window = how_.window;
    args.scale = 1 / std::sqrt(static_cast<float>(how_.head_dim));
    auto start =
      split ? cuda::attend_split : [](cuda::machine& on, const cuda::attend_args& a, uint32_t n, uint32_t r) {
        cuda::attend_rows(on, a, n, r);
      };
    start(on_, args, static_cast<uint32_t>(sequences_.size()), rows_max);
    return widened(on_host(on_, out));
  }

  std::vector<float> expected() {
    auto result = std::vector<float>{};
    for (const auto& one : sequences_)
      for (auto row = 0u; row < one.rows; ++row)
        for (auto head = 0u; head < how_.heads; ++head)
          attend(one, row, head, result);
    return result;
  }

private:
  uint16_t& k(const cuda::attend_sequence& one, uint32_t position, uint32_t head, uint32_t d) {
    auto tokens = 1u << how_.block_shift;
    return pool_[tables_[one.table_from + position / tokens] * layer_ + (head * how_.head_dim + d) * tokens
                 + position % tokens];
  }
  uint16_t& v(const cuda::attend_sequence& one, uint32_t position, uint32_t head, uint32_t d) {
    auto tokens = 1u << how_.block_shift;
    return pool_[tables_[one.table_from + position / tokens] * layer_ + layer_ / 2
                 + (head * tokens + position % tokens) * how_.head_dim + d];
  }

  void attend(const cuda::attend_sequence& one, uint32_t row, uint32_t head, std::vector<float>& result) {
    auto kv_head = head / (how_.heads / how_.kv_heads);
    auto* q = q_.data() + size_t{one.first_row + row} * stride_ + head * how_.head_dim;
    auto end = one.start + row + 1;
    auto begin = how_.window != 0 && end > how_.window ? end - how_.window : 0;
    auto scores = std::vector<double>{};
    for (auto position = begin; position < end; ++position) {
      auto score = 0.0;
      for (auto d = 0u; d < how_.head_dim; ++d)
        score += static_cast<double>(bf16_to_f32(q[d])) * bf16_to_f32(k(one, position, kv_head, d));
      scores.push_back(score / std::sqrt(how_.head_dim));
    }
    auto top = *std::ranges::max_element(scores);
    auto total = 0.0;
    for (auto& score : scores)
      total += score = std::exp(score - top);
    for (auto d = 0u; d < how_.head_dim; ++d) {
      auto sum = 0.0;
      for (auto position = begin; position < end; ++position)
        sum += scores[position - begin] * bf16_to_f32(v(one, position, kv_head, d));
      result.push_back(static_cast<float>(sum / total));
    }
  }

  cuda::machine& on_;
  shape how_;
  size_t layer_ = 0; ///< elements of a layer of a block
  uint32_t rows_ = 0;
  uint32_t stride_ = 0;
  std::vector<uint32_t> tables_;
  std::vector<cuda::attend_sequence> sequences_;
  std::vector<uint16_t> q_;
  std::vector<uint16_t> pool_;
};

// Weights and outputs are rounded to bf16.
constexpr auto tolerance = 1.5e-2;

} // namespace

TEST_CASE("cuda attention: many rows of ragged sequences, in groups, windows and blocks of either size") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto seed = uint64_t{10};
  for (auto& how : {shape{4, 1, 16, 4, 0},
                    {4, 4, 64, 4, 0},
                    {6, 2, 72, 4, 50},
                    {7, 1, 128, 4, 0},
                    {2, 1, 128, 9, 0},
                    {8, 2, 64, 9, 70}})
    for (const auto& all : {std::vector<sequence>{{0, 1}}, {{0, 65}}, {{37, 40}, {0, 3}, {63, 1}, {130, 20}}}) {
      auto one = attention_case{*device, how, all, ++seed};
      CHECK_LT(distance(one.run(false), one.expected()), tolerance);
    }
}

TEST_CASE("cuda attention: single rows of long and short contexts, split and put together") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto seed = uint64_t{40};
  for (auto& how : {shape{4, 1, 16, 4, 0}, {4, 4, 64, 4, 300}, {20, 1, 72, 4, 0}, {7, 1, 128, 9, 0}})
    for (const auto& all : {std::vector<sequence>{{0, 1}}, {{700, 1}, {0, 1}, {127, 1}, {128, 1}, {64, 2}}}) {
      auto one = attention_case{*device, how, all, ++seed};
      CHECK_LT(distance(one.run(true), one.expected()), tolerance);
    }
}

TEST_CASE("cuda attention: a context beyond 4,096 tokens goes in longer splits") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  for (auto window : {0u, 1500u}) {
    auto one = attention_case{*device, {2, 1, 64, 4, window}, {{4700, 1}, {4095, 1}, {4096, 1}}, 70 + window};
    CHECK_LT(distance(one.run(true), one.expected()), tolerance);
  }
}

TEST_CASE("cuda attention: a row's result depends neither on the batch nor on the chunk it came in") {
  auto* device = device_under_test();
  if (device == nullptr)
    return;
  auto how = shape{4, 2, 64, 4, 0};
  auto whole = attention_case{*device, how, {{100, 90}}, 5};
  for (auto split : {false, true}) {
    auto all = whole.run(split);
    auto row = all.size() / 90;
    for (auto [first, count] : {std::array{0u, 1u}, {13u, 40u}, {89u, 1u}}) {
      auto part = whole.rows(first, count);
      if (split && first + count < 90)
        continue; // splits follow the length of the sequence
      CHECK(part.run(split) == std::vector<float>(all.begin() + first * row, all.begin() + (first + count) * row));
    }
  }
}
