// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/sim_stream.hpp"
#include "tests/edge/stream_conformance.hpp"

#include <algorithm>
#include <cstring>
#include <map>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

constexpr toy_model model;

std::vector<token_id> some_prompt(uint64_t seed, size_t length) {
  random_stream random{seed};
  std::vector<token_id> out;
  for (size_t i = 0; i < length; ++i)
    out.push_back(static_cast<token_id>(random.below(static_cast<uint64_t>(model.vocabulary))));
  return out;
}

} // namespace

TEST_CASE("toy model: every token and every earlier tag counts") {
  auto prompt = some_prompt(1, 40);
  kernels::sampling_params greedy;
  greedy.temperature = 0;
  auto expected = model.expected_tokens(prompt, greedy, 0, 20, {});
  CHECK(expected.size() == 20);
  CHECK(expected == model.expected_tokens(prompt, greedy, 7, 20, {}));
  for (size_t changed : {size_t{0}, size_t{17}, size_t{39}}) {
    auto other = prompt;
    other[changed] = (other[changed] + 1) % model.vocabulary;
    CHECK(expected != model.expected_tokens(other, greedy, 0, 20, {}));
  }
  // It goes on from any point.
  prompt.insert(prompt.end(), expected.begin(), expected.begin() + 5);
  auto rest = model.expected_tokens(prompt, greedy, 0, 15, {});
  CHECK(std::equal(rest.begin(), rest.end(), expected.begin() + 5));
}

TEST_CASE("toy model: seed, choice and index count unless greedy") {
  auto prompt = some_prompt(2, 10);
  kernels::sampling_params params;
  params.seed = 5;
  auto base = model.expected_tokens(prompt, params, 0, 10, {});
  CHECK(base == model.expected_tokens(prompt, params, 0, 10, {}));
  CHECK(base != model.expected_tokens(prompt, params, 1, 10, {}));
  params.seed = 6;
  CHECK(base != model.expected_tokens(prompt, params, 0, 10, {}));
}

TEST_CASE("toy model: ends as often as it was told, and not before it may") {
  auto often = model;
  often.end_ppm = 200'000;
  kernels::sampling_params params;
  params.stop_ids = {often.end_token};
  std::map<size_t, int> lengths;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    params.seed = seed;
    auto tokens = often.expected_tokens(some_prompt(3, 4), params, 0, 50, params.stop_ids);
    CHECK(std::count(tokens.begin(), tokens.end() - 1, often.end_token) == 0);
    ++lengths[tokens.size()];
  }
  CHECK(lengths[1] > 150);
  CHECK(lengths[1] < 270);
  params.min_tokens = 6;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    params.seed = seed;
    CHECK(often.expected_tokens(some_prompt(3, 4), params, 0, 50, params.stop_ids).size() > 6);
  }
}

TEST_CASE("simulated stream: computes what the toy model says, in the time that the costs say") {
  world home{{}};
  testing::stream_log log;
  known_content known;
  auto prompt = some_prompt(4, 10);
  known.add(model, prompt);
  stream_options options;
  options.known = &known;
  sim_stream stream{home, options, log};
  kernels::sample_request greedy;
  greedy.params.temperature = 0;
  auto began = home.now();
  stream.submit(kernels::prefill_work{1, prompt, 0, {5, 3, 9}, {greedy}});
  REQUIRE(home.run_until([&] { return log.done(1); }, 1s));
  CHECK(home.now() - began == options.costs.chunk_ns(0, 10, true));
  CHECK(log.result(1).busy_ns == home.now() - began);
  CHECK(log.result(1).tokens == model.expected_tokens(prompt, greedy.params, 0, 1, {}));
  auto tags = model.expected_tags(prompt);
  for (uint32_t position = 0; position < 10; ++position)
    for (uint32_t layer = 0; layer < model.layers; ++layer) {
      auto slot = std::vector<uint32_t>{5, 3, 9}[position / model.block_tokens];
      uint64_t tag = 0;
      std::memcpy(&tag, stream.pool().data() + stream.layout().offset(slot, layer) + position % model.block_tokens * 8, 8);
      CHECK(tag == tags[position * model.layers + layer]);
    }
  CHECK(stream.mismatches() == 0);
  // One torn byte is found.
  stream.pool()[stream.layout().offset(3, 1)] ^= std::byte{1};
  stream.submit(kernels::decode_work{2, {{1, 10, {5, 3, 9}, greedy}}});
  home.run_for(1s);
  CHECK(log.result(2).outcome.ok());
  CHECK(stream.mismatches() == 1);
}

TEST_CASE("simulated stream: a device that fails says so, one that hangs says nothing") {
  world home{{}};
  testing::stream_log log;
  sim_stream stream{home, {}, log};
  stream.submit(kernels::prefill_work{1, {1, 2}, 0, {0}, {}});
  stream.fail();
  stream.submit(kernels::prefill_work{2, {1, 2}, 0, {0}, {}});
  home.run_for(1s);
  CHECK(log.result(1).outcome.ok());
  CHECK(log.result(2).outcome.code == errc::io_error);
  stream.hang();
  stream.submit(kernels::prefill_work{3, {1, 2}, 0, {0}, {}});
  home.run_for(10s);
  CHECK_FALSE(log.done(3));
}
