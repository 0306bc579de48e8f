// SPDX-License-Identifier: Apache-2.0
// Equal bits whatever the chunks, the batch, the slots and the threads (DESIGN.md §5).
#include "tests/kernels/support.hpp"

#include <cstring>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace {

std::vector<token_id> some_tokens(const model& weights, uint32_t count, uint64_t seed) {
  auto random = std::mt19937_64{seed};
  auto tokens = std::vector<token_id>(count);
  for (auto& token : tokens)
    token = static_cast<token_id>(random() % weights.config().vocab);
  return tokens;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

constexpr auto all_models = {"gqa-f32",     "sharded-f32", "f16-bytelevel", "bf16-llama3",
                             "mistral-f32", "qwen2-bf16",  "qwen3-f32"};

} // namespace

TEST_CASE(
  "exactness: logits have the same bits for a whole prompt, in chunks, token by token, and on any number of threads") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto weights = model::load(data_models() / name);
    auto tokens = some_tokens(*weights, 200, 1);
    auto options = cpu::transformer_options{1, false, true};
    auto whole = sequence_engine{weights, options, 200}.run(tokens, 0);
    for (auto threads : {2u, 3u}) {
      options.threads = threads;
      auto random = std::mt19937_64{threads};
      auto engine = sequence_engine{weights, options, 200};
      auto logits = std::vector<float>{};
      for (auto at = size_t{0}; at < tokens.size();) {
        auto count = std::min<size_t>(tokens.size() - at, 1 + random() % 60);
        logits = engine.run(std::span{tokens}.subspan(at, count), static_cast<uint32_t>(at));
        at += count;
      }
      CHECK(same_bits(logits, whole));
    }
    auto engine = sequence_engine{weights, options, 200};
    auto logits = std::vector<float>{};
    for (auto i = 0u; i < tokens.size(); ++i)
      logits = engine.run({&tokens[i], 1}, i);
    CHECK(same_bits(logits, whole));
  }
}

TEST_CASE("exactness: every row of a batch of decode steps has the bits it has alone") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto weights = model::load(data_models() / name);
    auto layout = weights->layout(16);
    constexpr auto sequences = 19u;
    constexpr auto blocks = 5u;
    auto pool = std::vector<std::byte>(sequences * blocks * layout.block_bytes(), std::byte{0xff});
    auto pass = cpu::transformer{weights, 16, {2, false, true}};
    auto places = std::vector<std::byte*>{};
    for (auto slot = 0u; slot < sequences * blocks; ++slot)
      places.push_back(pool.data() + layout.offset(slot));
    std::shuffle(places.begin(), places.end(), std::mt19937_64{7});
    auto rows = std::vector<cpu::row>{};
    auto alone = std::vector<std::vector<float>>{};
    for (auto s = 0u; s < sequences; ++s) {
      auto length = 1 + s * 4;
      auto tokens = some_tokens(*weights, length, s);
      alone.push_back(sequence_engine{weights, {1, false, true}, length}.run(tokens, 0));
      auto prompt = std::vector<cpu::row>{};
      for (auto i = 0u; i < length; ++i)
        prompt.push_back({tokens[i], i, places.data() + s * blocks});
      rows.push_back(prompt.back());
      prompt.pop_back();
      if (!prompt.empty())
        pass.forward(prompt, {}, [](uint32_t) { return true; });
    }
    auto wanted = std::vector<uint32_t>(sequences);
    std::iota(wanted.begin(), wanted.end(), 0u);
    pass.forward(rows, wanted, [](uint32_t) { return true; });
    for (auto s = 0u; s < sequences; ++s)
      CHECK(same_bits(pass.logits(s), alone[s]));
  }
}

TEST_CASE("exactness: other instruction sets, block sizes and oneDNN stay within the tolerance of the type") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto weights = model::load(data_models() / name);
    auto type = weights->weights().type;
    auto tolerance = type == dtype::f32 ? 1e-4f : type == dtype::f16 ? 1e-2f : 8e-2f;
    auto tokens = some_tokens(*weights, 300, 3);
    auto reference = sequence_engine{weights, {1, true, false}, 300}.run(tokens, 0);
    for (auto block_tokens : {1u, 16u, 21u, 48u, 512u}) {
      CAPTURE(block_tokens);
      auto logits = sequence_engine{weights, {2, false, false}, 300, block_tokens}.run(tokens, 0);
      CHECK_LE(largest_difference(logits, reference), tolerance);
    }
  }
}
