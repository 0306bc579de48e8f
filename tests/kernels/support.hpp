// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/transformer.hpp"
#include "kernels/model/json_reader.hpp"
#include "kernels/model/model.hpp"
#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace perigee::kernels::test {

/// A KV pool and a forward pass over it, for one sequence at a time.
struct sequence_engine {
  sequence_engine(std::shared_ptr<const model> weights, const cpu::transformer_options& options, uint32_t tokens,
                  uint32_t block_tokens = 16)
    : layout(weights->layout(block_tokens)), pool(layout.blocks_for(tokens) * layout.block_bytes(), std::byte{0xff}),
      pass(weights, block_tokens, options) {
    for (auto slot = layout.blocks_for(tokens); slot-- > 0;) // any order will do
      blocks.push_back(pool.data() + layout.offset(slot));
  }

  /// Runs `tokens` from position `start`; the logits of the last one.
  std::vector<float> run(std::span<const token_id> tokens, uint32_t start) {
    auto rows = std::vector<cpu::row>{};
    for (auto i = 0u; i < tokens.size(); ++i)
      rows.push_back({tokens[i], start + i, blocks.data()});
    auto wanted = static_cast<uint32_t>(rows.size()) - 1;
    pass.forward(rows, {&wanted, 1}, [](uint32_t) { return true; });
    auto logits = pass.logits(0);
    return {logits.begin(), logits.end()};
  }

  kv_layout layout;
  std::vector<std::byte> pool; // 0xff..: not numbers, in every type
  std::vector<std::byte*> blocks;
  cpu::transformer pass;
};

inline std::filesystem::path data_models() {
  return testing::source_dir() / "tests" / "data" / "models";
}

template <class T>
std::vector<T> numbers(const boost::json::value& list) {
  auto result = std::vector<T>{};
  for (const auto& item : list.as_array())
    result.push_back(item.to_number<T>());
  return result;
}

inline token_id arg_max(std::span<const float> logits) {
  return static_cast<token_id>(std::ranges::max_element(logits) - logits.begin());
}

inline float largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE_EQ(a.size(), b.size());
  auto largest = 0.0f;
  for (auto i = size_t{0}; i < a.size(); ++i) {
    auto difference = std::abs(a[i] - b[i]);
    if (std::isnan(difference))
      return difference; // no comparison holds for it
    largest = std::max(largest, difference);
  }
  return largest;
}

} // namespace perigee::kernels::test
