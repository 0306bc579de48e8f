// SPDX-License-Identifier: Apache-2.0
#include "kernels/sampler.hpp"
#include "tests/kernels/support.hpp"

#include <map>

using namespace perigee;
using namespace perigee::kernels;

namespace {

/// How often each token comes in `draws` draws at different positions.
std::vector<double> shares(const std::vector<float>& logits, sample_request request, uint32_t draws) {
  auto choose = sampler{};
  auto counts = std::vector<double>(logits.size());
  for (request.generated = 0; request.generated < draws; ++request.generated)
    counts.at(static_cast<size_t>(choose.sample(logits, request))) += 1.0 / draws;
  return counts;
}

/// Softmax of the logits that `keep` lets pass.
template <class Keep>
std::vector<double> softmax(const std::vector<float>& logits, double temperature, Keep&& keep) {
  auto result = std::vector<double>(logits.size());
  auto total = 0.0;
  for (auto i = size_t{0}; i < logits.size(); ++i)
    total += result[i] = keep(i) ? std::exp(logits[i] / temperature) : 0.0;
  for (auto& share : result)
    share /= total;
  return result;
}

void check_close(const std::vector<double>& found, const std::vector<double>& expected) {
  for (auto i = size_t{0}; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK_LE(std::abs(found[i] - expected[i]), 0.01);
    if (expected[i] == 0)
      CHECK_EQ(found[i], 0);
  }
}

const auto logits = std::vector<float>{1.0f, 3.0f, 2.0f, -1.0f, 2.5f, 0.0f};
constexpr auto draws = 40'000u;

} // namespace

TEST_CASE("sampler: temperature 0 takes the highest logit, the lowest id among equals") {
  auto choose = sampler{};
  auto greedy = sample_request{};
  greedy.params.temperature = 0;
  CHECK_EQ(choose.sample(logits, greedy), 1);
  CHECK_EQ(choose.sample(std::vector<float>{0, 2, 1, 2}, greedy), 1);
  CHECK_EQ(choose.sample(std::vector<float>{NAN, -2, -1, -INFINITY}, greedy), 2);
  CHECK_EQ(choose.sample(std::vector<float>{NAN, -INFINITY}, greedy), -1);
}

TEST_CASE("sampler: shares follow the softmax at any temperature") {
  auto request = sample_request{};
  for (auto temperature : {0.5f, 1.0f, 2.0f}) {
    request.params.temperature = temperature;
    check_close(shares(logits, request, draws), softmax(logits, temperature, [](size_t) { return true; }));
  }
}

TEST_CASE("sampler: top_k and top_p cut the tail, alone and together, and rank equals by id") {
  auto request = sample_request{};
  request.params.top_k = 3;
  check_close(shares(logits, request, draws), softmax(logits, 1, [](size_t i) { return i == 1 || i == 4 || i == 2; }));
  request.params.top_k = 0;
  request.params.top_p = 0.7f; // 0.46 + 0.28 passes it
  check_close(shares(logits, request, draws), softmax(logits, 1, [](size_t i) { return i == 1 || i == 4; }));
  request.params.top_k = 4;
  request.params.top_p = 0.9f; // of the best four 0.47 + 0.29 + 0.17 passes it
  check_close(shares(logits, request, draws), softmax(logits, 1, [](size_t i) { return i == 1 || i == 4 || i == 2; }));
  request.params = {};
  request.params.top_k = 2;
  check_close(shares({1, 1, 1, 1}, request, draws), {0.5, 0.5, 0, 0});
  request.params.top_p = 1e-6f;
  check_close(shares(logits, request, 100), {0, 1, 0, 0, 0, 0});
}

TEST_CASE("sampler: ranking a large vocabulary piece by piece keeps the same tokens as ranking it at once") {
  auto random = std::mt19937_64{11};
  auto many = std::vector<float>(5000);
  for (auto& logit : many)
    logit = static_cast<float>(random() % 2000) / 1000; // flat, and many equals
  auto request = sample_request{};
  request.params.top_p = 0.5f;
  auto order = std::vector<size_t>(many.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return many[a] > many[b]; });
  auto whole = softmax(many, 1, [](size_t) { return true; });
  auto kept = std::vector<bool>(many.size());
  auto mass = 0.0;
  for (auto id : order) {
    if (mass >= 0.5)
      break;
    kept[id] = true;
    mass += whole[id];
  }
  auto choose = sampler{};
  for (request.generated = 0; request.generated < 2000; ++request.generated)
    REQUIRE(kept[static_cast<size_t>(choose.sample(many, request))]);
}

TEST_CASE("sampler: the same question has the same answer, whatever was asked before") {
  auto first = sampler{};
  auto second = sampler{};
  auto seen = std::map<token_id, int>{};
  for (auto i = 0u; i < 200; ++i) {
    auto request = sample_request{};
    request.params.seed = i % 5;
    request.choice = i % 3;
    request.generated = i;
    request.params.top_p = i % 2 == 0 ? 1.0f : 0.9f;
    auto token = first.sample(logits, request);
    if (i % 4 == 0)
      second.sample(std::vector<float>(40, 1.0f), request);
    CHECK_EQ(second.sample(logits, request), token);
    ++seen[token];
  }
  CHECK_GE(seen.size(), 4);
  auto words = std::map<uint64_t, int>{};
  for (auto seed = 0u; seed < 10; ++seed)
    for (auto choice = 0u; choice < 10; ++choice)
      for (auto index = 0u; index < 100; ++index)
        ++words[random_word(seed, choice, index)];
  CHECK_EQ(words.size(), 10'000);
}

TEST_CASE("sampler: penalties see prompt and generated tokens as they should") {
  auto choose = sampler{};
  auto request = sample_request{};
  request.params.temperature = 0;
  request.history = {1, 4, 4, 2};
  request.prompt_tokens = 1;
  request.params.repetition_penalty = 10; // 3 → 0.3, 2.5 → 0.25, 2 → 0.2: token 0 with 1 is left
  CHECK_EQ(choose.sample(logits, request), 0);
  CHECK_EQ(choose.sample(std::vector<float>{-5, -1, -1, -9, -1, -9}, request), 0); // below zero it multiplies
  request.params = {};
  request.params.temperature = 0;
  request.params.presence_penalty = 1; // the prompt's token 1 keeps its 3
  CHECK_EQ(choose.sample(logits, request), 1);
  request.prompt_tokens = 0; // now 3 → 2, 2.5 → 1.5, 2 → 1
  CHECK_EQ(choose.sample(logits, request), 1);
  request.params.presence_penalty = 0;
  request.params.frequency_penalty = 0.3f; // 3 → 2.7, 2.5 → 1.9
  CHECK_EQ(choose.sample(logits, request), 1);
  request.history = {1, 1, 1};
  CHECK_EQ(choose.sample(logits, request), 4); // 3 → 2.1
  request.params.frequency_penalty = -1;
  CHECK_EQ(choose.sample(std::vector<float>{1, 0, 2}, request), 1);
}

TEST_CASE("sampler: stop ids cannot come before min_tokens") {
  auto choose = sampler{};
  auto request = sample_request{};
  request.params.temperature = 0;
  request.params.stop_ids = {1, 4};
  request.params.min_tokens = 3;
  request.generated = 2;
  CHECK_EQ(choose.sample(logits, request), 2);
  request.generated = 3;
  CHECK_EQ(choose.sample(logits, request), 1);
}

TEST_CASE("sampler: parameters out of range are refused by name") {
  auto refused = [](auto change, std::string_view field) {
    auto request = sample_request{};
    change(request);
    auto outcome = check_sample(request, 6);
    CHECK_EQ(outcome.code, errc::invalid_argument);
    CHECK(outcome.context.starts_with(field));
  };
  CHECK(check_sample({}, 6).ok());
  refused([](auto& r) { r.params.temperature = -1; }, "temperature");
  refused([](auto& r) { r.params.temperature = NAN; }, "temperature");
  refused([](auto& r) { r.params.top_p = 0; }, "top_p");
  refused([](auto& r) { r.params.top_p = 1.5f; }, "top_p");
  refused([](auto& r) { r.params.top_k = -1; }, "top_k");
  refused([](auto& r) { r.params.repetition_penalty = 0; }, "repetition_penalty");
  refused([](auto& r) { r.params.presence_penalty = INFINITY; }, "presence_penalty");
  refused([](auto& r) { r.params.frequency_penalty = NAN; }, "frequency_penalty");
  refused([](auto& r) { r.params.stop_ids = {6}; }, "stop_ids");
  refused([](auto& r) { r.params.presence_penalty = 1, r.history = {-1}; }, "history");
  refused([](auto& r) { r.params.presence_penalty = 1, r.prompt_tokens = 1; }, "prompt_tokens");
}
