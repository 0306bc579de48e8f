// SPDX-License-Identifier: Apache-2.0
// The whole forward pass beside the processor's, and the stream on a device that goes wrong.
#include "kernels/cuda/cuda_stream.hpp"
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "kernels/cuda/forward.hpp"
#include "tests/edge/stream_conformance.hpp"
#include "tests/kernels/cuda/support.hpp"
#include "tests/kernels/support.hpp"

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::cuda::test;
using perigee::kernels::test::data_models;
using perigee::kernels::test::largest_difference;
namespace cuda = perigee::kernels::cuda;

namespace {

sample_request greedy() {
  auto request = sample_request{};
  request.params.temperature = 0;
  return request;
}

std::vector<token_id> some_tokens(uint32_t count, uint32_t vocab) {
  auto random = numbers{count};
  auto tokens = std::vector<token_id>(count);
  for (auto& token : tokens)
    token = static_cast<token_id>(random.below(vocab));
  return tokens;
}

/// A pass on the emulated device with a pool of its own.
struct device_engine {
  explicit device_engine(const model& from)
    : on(cuda::make_emulated_machine()), layout(from.layout(16)), weights(cuda::upload_weights(*on, from, 512)),
      pool(*on, 32 * layout.block_bytes()), pass(*on, weights, layout, pool.data(), {16, 256, 8}), slots(32) {
    std::iota(slots.rbegin(), slots.rend(), 0u);
  }

  void prefill(std::span<const token_id> tokens, uint32_t start) {
    pass.begin_prefill(tokens, start, slots);
    for (auto layer = 0u; layer < layout.layers; ++layer) {
      pass.layer_kv(layer);
      pass.layer_rest(layer, true);
    }
  }
  std::vector<float> logits() {
    auto all = on_host(*on, pass.logits());
    all.resize(weights.config.vocab);
    return all;
  }

  std::unique_ptr<cuda::machine> on;
  kv_layout layout;
  cuda::device_weights weights;
  cuda::device_array<std::byte> pool;
  cuda::forward pass;
  std::vector<uint32_t> slots;
};

} // namespace

TEST_CASE("cuda forward: logits of prefills, chunks and steps are the processor's, with biases and windows too") {
  for (auto* name : {"bf16-llama3", "qwen2-bf16"}) {
    CAPTURE(std::string{name});
    auto weights = model::load(data_models() / name);
    auto processor = kernels::test::sequence_engine{weights, {2, true, false}, 256};
    auto device = device_engine{*weights};
    // Rounding to bf16 wherever an engine may: what the reference answers allow.
    auto golden = read_json_object(data_models() / name / "golden.json", 64 << 20);
    auto tolerance = golden.at("logits_tolerance").to_number<double>();
    for (const auto& prompt : golden.at("prompts").as_array()) {
      device.prefill(kernels::test::numbers<token_id>(prompt.at("ids")), 0);
      CHECK_LT(largest_difference(device.logits(), kernels::test::numbers<float>(prompt.at("first_logits"))),
               tolerance);
    }
    auto tokens = some_tokens(150, weights->config().vocab);
    auto start = 0u;
    for (auto length : {70u, 1u, 30u}) {
      auto chunk = std::span{tokens}.subspan(start, length);
      device.prefill(chunk, start);
      CHECK_LT(largest_difference(device.logits(), processor.run(chunk, start)), tolerance);
      start += length;
    }
    for (auto graphs : {0u, 1u, 1u, 1u}) { // the first step of a shape runs as it is
      auto chunk = std::span{tokens}.subspan(start, 1);
      auto row = decode_row{chunk[0], start, device.slots, greedy()};
      device.pass.step({&row, 1});
      auto logits = device.logits();
      CHECK_LT(largest_difference(logits, processor.run(chunk, start)), tolerance);
      CHECK_EQ(device.pass.tokens()[0], kernels::test::arg_max(logits));
      CHECK_EQ(device.pass.graphs(), graphs);
      ++start;
    }
  }
}

TEST_CASE("cuda forward: a row of a padded batch gives what it gives alone, to the bit") {
  auto weights = model::load(data_models() / "bf16-llama3");
  auto vocab = weights->config().vocab;
  auto device = device_engine{*weights};
  auto tokens = some_tokens(40, vocab);
  device.prefill(tokens, 0);
  auto row = decode_row{5, 40, device.slots, greedy()};
  device.pass.step({&row, 1});
  auto alone = device.logits();
  auto other = decode_row{6, 0, {20}, greedy()};
  auto third = decode_row{7, 0, {21}, greedy()};
  auto rows = std::vector{row, other, third}; // as four
  device.pass.step(rows);
  CHECK(device.logits() == alone);
}

TEST_CASE("cuda forward: a model that the kernels do not compute is refused by name") {
  auto on = cuda::make_emulated_machine();
  for (auto* name : {"gqa-f32", "f16-bytelevel"})
    CHECK_THROWS_WITH_AS(cuda::upload_weights(*on, *model::load(data_models() / name), 64),
                         doctest::Contains("bf16 models"), failure);
}

TEST_CASE("cuda stream: options out of range are named") {
  auto weights = model::load(data_models() / "bf16-llama3");
  auto log = testing::stream_log{};
  auto make = [&](uint32_t slots, uint32_t block_tokens) {
    auto options = cuda_stream_options{};
    options.slots = slots;
    options.block_tokens = block_tokens;
    return make_cuda_stream(weights, options, log, cuda::make_emulated_machine());
  };
  CHECK_THROWS_WITH_AS(make(0, 16), doctest::Contains("slots"), failure);
  CHECK_THROWS_WITH_AS(make(4, 4), doctest::Contains("block_tokens is 4"), failure);
  CHECK_THROWS_WITH_AS(make(4, 48), doctest::Contains("power of two"), failure);
}

TEST_CASE("cuda stream: a device that breaks or falls silent answers every item, and none waits for ever") {
  auto weights = model::load(data_models() / "bf16-llama3");
  for (auto silent : {false, true}) {
    auto faults = std::make_shared<cuda::emulated_faults>();
    auto log = testing::stream_log{};
    auto options = cuda_stream_options{};
    options.slots = 4;
    options.rows_max = 16;
    options.batch_max = 4;
    options.deadline_ns = 1'000'000;
    auto device = make_cuda_stream(weights, options, log, cuda::make_emulated_machine(faults));
    device->submit(prefill_work{1, {1, 2, 3}, 0, {0}, {greedy()}});
    REQUIRE(testing::wait_for_stream([&] { return log.done(1); }));
    CHECK(log.result(1).outcome.ok());
    (silent ? faults->silent : faults->broken) = true;
    device->submit(decode_work{2, {{4, 3, {0}, greedy()}}});
    device->submit(copy_work{3, {{0, 1}}});
    REQUIRE(testing::wait_for_stream([&] { return log.done(3); }));
    auto expected = silent ? errc::timed_out : errc::io_error;
    CHECK_EQ(log.result(2).outcome.code, expected);
    CHECK_EQ(log.result(3).outcome.code, expected);
    CHECK(log.result(3).outcome.context.find("lost") != std::string::npos);
    faults->silent = faults->broken = false; // it stays lost: what it wrote meanwhile nobody knows
    device->submit(copy_work{4, {{0, 1}}});
    REQUIRE(testing::wait_for_stream([&] { return log.done(4); }));
    CHECK_EQ(log.result(4).outcome.code, expected);
  }
}

TEST_CASE("cuda stream: the prefill of a long prompt in pieces tells each layer once, and copies what it wrote") {
  auto weights = model::load(data_models() / "bf16-llama3");
  auto tokens = some_tokens(70, weights->config().vocab);
  auto pools = std::vector<std::vector<std::byte>>{};
  auto sampled = std::vector<token_id>{};
  for (auto rows_max : {32u, 128u}) {
    auto log = testing::stream_log{};
    auto options = cuda_stream_options{};
    options.slots = 5;
    options.rows_max = rows_max;
    options.batch_max = 4;
    auto device = make_cuda_stream(weights, options, log, cuda::make_emulated_machine());
    device->submit(prefill_work{1, tokens, 0, {4, 2, 0, 1, 3}, {greedy()}});
    REQUIRE(testing::wait_for_stream([&] { return log.done(1); }));
    REQUIRE(log.result(1).outcome.ok());
    sampled.push_back(log.result(1).tokens.at(0));
    CHECK(log.layers(1) == std::vector<uint32_t>{0, 1});
    auto pool = device->pool();
    auto layout = device->layout();
    auto full = std::vector<std::byte>{};
    for (auto slot : {4u, 2u, 0u, 1u}) { // of the last block, six tokens
      auto block = pool.subspan(layout.offset(slot), layout.block_bytes());
      full.insert(full.end(), block.begin(), block.end());
    }
    CHECK(std::ranges::count(full, std::byte{0xff}) < 100); // memory of the device begins as 0xff
    pools.push_back(full);
  }
  CHECK(sampled[0] == sampled[1]);
  CHECK(pools[0] == pools[1]);
}
