// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"
#include "kernels/cpu/core_share.hpp"
#include "kernels/cpu/cpu_stream.hpp"
#include "kernels/engine.hpp"
#include "tests/kernels/support.hpp"

#include <condition_variable>
#include <mutex>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace {

/// Remembers what a stream tells, and can hold it up at the first layer of an item.
class recorder : public stream_events {
public:
  void layer_done(uint64_t id, uint32_t layer) override {
    auto lock = std::unique_lock{mutex_};
    layers_.emplace_back(id, layer);
    changed_.notify_all();
    changed_.wait(lock, [&] { return id != held_; });
  }
  void work_done(work_result result) override {
    auto lock = std::lock_guard{mutex_};
    results_.push_back(std::move(result));
    changed_.notify_all();
  }

  void hold(uint64_t id) {
    auto lock = std::lock_guard{mutex_};
    held_ = id;
  }
  void release() {
    hold(0);
    changed_.notify_all();
  }
  void await_layer(uint64_t id) {
    auto lock = std::unique_lock{mutex_};
    changed_.wait(lock, [&] { return std::ranges::any_of(layers_, [&](auto& l) { return l.first == id; }); });
  }
  std::vector<work_result> await_results(size_t count) {
    auto lock = std::unique_lock{mutex_};
    changed_.wait(lock, [&] { return results_.size() >= count; });
    return results_;
  }
  std::vector<work_result> results() {
    auto lock = std::lock_guard{mutex_};
    return results_;
  }
  std::vector<uint32_t> layers_of(uint64_t id) {
    auto lock = std::lock_guard{mutex_};
    auto result = std::vector<uint32_t>{};
    for (auto [from, layer] : layers_)
      if (from == id)
        result.push_back(layer);
    return result;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t held_ = 0;
  std::vector<std::pair<uint64_t, uint32_t>> layers_;
  std::vector<work_result> results_;
};

sample_request greedy() {
  auto request = sample_request{};
  request.params.temperature = 0;
  return request;
}

prefill_work prefill(uint64_t id, std::vector<token_id> tokens, std::vector<uint32_t> blocks, uint32_t start = 0) {
  return {id, std::move(tokens), start, std::move(blocks), {greedy()}};
}

struct fixture {
  explicit fixture(uint32_t slots = 16, bool reference = false, const char* name = "gqa-f32")
    : weights(model::load(data_models() / name)),
      device(make_cpu_stream(weights, {slots, 16, 2, reference, false}, events)) {}

  std::shared_ptr<const model> weights;
  recorder events;
  std::unique_ptr<stream> device;
};

const auto prompt = std::vector<token_id>{1, 20, 300, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};

} // namespace

TEST_CASE("stream: prefill and decode give the engine's tokens, and layers are told in order before the answer") {
  for (auto reference : {false, true}) {
    auto f = fixture{16, reference};
    auto options = completion_options{};
    options.max_tokens = 12;
    options.ignore_eos = true;
    options.sampling.temperature = 0;
    auto expected = engine{f.weights, {1, 16, reference, false}}.complete_tokens(prompt, options).tokens;
    f.device->submit(prefill(1, prompt, {5, 3}));
    auto results = f.events.await_results(1);
    REQUIRE(results[0].outcome.ok());
    CHECK_EQ(results[0].id, 1);
    CHECK_GT(results[0].busy_ns, 0);
    CHECK_EQ(f.events.layers_of(1), std::vector<uint32_t>{0, 1});
    auto tokens = results[0].tokens;
    REQUIRE_EQ(tokens.size(), 1);
    while (tokens.size() < expected.size()) {
      auto position = static_cast<uint32_t>(prompt.size() + tokens.size()) - 1;
      f.device->submit(decode_work{tokens.size() + 1, {{tokens.back(), position, {5, 3}, greedy()}}});
      results = f.events.await_results(tokens.size() + 1);
      REQUIRE(results.back().outcome.ok());
      tokens.push_back(results.back().tokens.at(0));
    }
    CHECK_EQ(tokens, expected);
  }
}

TEST_CASE(
  "stream: a prompt may come in chunks, several choices are sampled from one row, and copied blocks continue alike") {
  auto f = fixture{};
  f.device->submit(prefill(1, prompt, {0, 1}));
  auto first = std::vector<token_id>(prompt.begin(), prompt.begin() + 7);
  auto rest = std::vector<token_id>(prompt.begin() + 7, prompt.end());
  f.device->submit(prefill_work{2, first, 0, {2}, {}});
  auto forked = prefill(3, rest, {2, 4}, 7);
  for (auto choice = 1u; choice < 5; ++choice) {
    auto request = sample_request{};
    request.choice = choice;
    request.params.temperature = 5;
    forked.samples.push_back(request);
  }
  f.device->submit(forked);
  f.device->submit(copy_work{4, {{2, 8}, {4, 9}}});
  auto row = decode_row{42, static_cast<uint32_t>(prompt.size()), {2, 4}, greedy()};
  auto copy = row;
  copy.blocks = {8, 9};
  f.device->submit(decode_work{5, {row, copy}});
  auto results = f.events.await_results(5);
  for (const auto& result : results)
    CHECK(result.outcome.ok());
  CHECK(results[1].tokens.empty());
  REQUIRE_EQ(results[2].tokens.size(), 5);
  CHECK_EQ(results[2].tokens[0], results[0].tokens[0]);
  auto different = std::vector<token_id>(results[2].tokens.begin(), results[2].tokens.end());
  std::ranges::sort(different);
  CHECK_GE(std::unique(different.begin(), different.end()) - different.begin(), 3);
  REQUIRE_EQ(results[4].tokens.size(), 2);
  CHECK_EQ(results[4].tokens[0], results[4].tokens[1]);
}

TEST_CASE("stream: several that share the cores, bound to processors, compute at once what each computes alone") {
  auto alone = fixture{};
  alone.device->submit(prefill(1, prompt, {0, 1}));
  auto expected = alone.events.await_results(1)[0].tokens;
  auto cores = std::make_shared<cpu::core_share>(4);
  recorder events[3];
  std::vector<std::unique_ptr<stream>> streams;
  for (auto i = 0u; i < 3; ++i) {
    auto how = stream_options{10, 16, 4, false, false};
    how.cores = cores;
    how.pin_from = i * 2;
    streams.push_back(make_cpu_stream(alone.weights, how, events[i]));
  }
  for (auto id = uint64_t{1}; id <= 20; ++id)
    for (auto& one : streams)
      one->submit(prefill(id, prompt, {0, 1}));
  for (auto& one : events)
    for (const auto& result : one.await_results(20)) {
      REQUIRE(result.outcome.ok());
      CHECK_EQ(result.tokens, expected);
    }
  streams.clear();
  CHECK_EQ(cores->each(), 4); // each turn was given back
}

TEST_CASE("stream: a full queue refuses, and every item is answered once, in order of submission") {
  auto f = fixture{};
  f.events.hold(1);
  f.device->submit(prefill(1, prompt, {0, 1}));
  f.events.await_layer(1);
  for (auto id = uint64_t{2}; id <= 70; ++id)
    f.device->submit(copy_work{id, {{2, 3}}});
  f.device->cancel(10);
  f.events.release();
  auto results = f.events.await_results(70);
  for (auto i = size_t{0}; i < 70; ++i) {
    CHECK_EQ(results[i].id, i + 1);
    CHECK_EQ(results[i].outcome.code, i + 1 > stream_queue_max ? errc::exhausted
                                      : i + 1 == 10            ? errc::cancelled
                                                               : errc::none);
  }
  f.device->submit(copy_work{71, {{2, 3}}}); // there is room again
  CHECK(f.events.await_results(71).back().outcome.ok());
}

TEST_CASE("stream: a running item that is cancelled stops after its layer and writes nothing afterwards") {
  auto f = fixture{};
  std::ranges::fill(f.device->pool(), std::byte{7});
  f.events.hold(1);
  f.device->submit(prefill(1, prompt, {0, 1}));
  f.events.await_layer(1);
  f.device->cancel(1);
  f.device->cancel(99); // nobody
  f.events.release();
  auto results = f.events.await_results(1);
  CHECK_EQ(results[0].outcome.code, errc::cancelled);
  CHECK(results[0].tokens.empty());
  CHECK_EQ(f.events.layers_of(1), std::vector<uint32_t>{0});
  f.device->submit(prefill(2, prompt, {2, 3}));
  CHECK(f.events.await_results(2)[1].outcome.ok());
}

TEST_CASE("stream: every item has its answer when the stream is gone") {
  auto f = fixture{};
  f.events.hold(1);
  f.device->submit(prefill(1, prompt, {0, 1}));
  f.events.await_layer(1);
  f.device->submit(copy_work{2, {{0, 1}}});
  f.device->submit(prefill(3, prompt, {0, 1}));
  f.device->cancel(1);
  auto destroyer = std::thread{[gone = std::move(f.device)]() mutable { gone.reset(); }};
  f.events.release();
  destroyer.join();
  auto results = f.events.results();
  REQUIRE_EQ(results.size(), 3);
  CHECK_EQ(results[0].outcome.code, errc::cancelled);
  for (auto i = size_t{1}; i < 3; ++i) {
    CHECK_EQ(results[i].id, i + 1);
    CHECK((results[i].outcome.ok() || results[i].outcome.code == errc::cancelled)); // whichever was first
  }
}

TEST_CASE("stream: prefill writes the slots it was given and no others") {
  auto f = fixture{8};
  std::ranges::fill(f.device->pool(), std::byte{7});
  f.device->submit(prefill(1, prompt, {6, 2}));
  f.events.await_results(1);
  auto block = f.device->layout().block_bytes();
  for (auto slot = 0u; slot < f.device->slots(); ++slot) {
    auto bytes = f.device->pool().subspan(slot * block, block);
    auto touched = std::ranges::any_of(bytes, [](std::byte b) { return b != std::byte{7}; });
    CHECK_EQ(touched, slot == 6 || slot == 2);
  }
}

TEST_CASE("stream: invalid work is answered with the field named, and nothing is computed") {
  auto f = fixture{};
  auto answers = size_t{0};
  auto refused = [&](auto work, std::string_view field) {
    f.device->submit(std::move(work));
    auto result = f.events.await_results(++answers).back();
    CAPTURE(result.outcome.context);
    CHECK_EQ(result.outcome.code, errc::invalid_argument);
    CHECK(result.outcome.context.starts_with(field));
  };
  refused(prefill(1, {}, {0}), "tokens is empty");
  refused(prefill(1, {1, 326}, {0}), "tokens[1] is 326; allowed: 0 to 325");
  refused(prefill(1, {-1}, {0}), "tokens[0] is -1");
  refused(prefill(1, {1}, {16}), "blocks[0] is 16; allowed: 0 to 15");
  refused(prefill(1, prompt, {0}), "blocks has 1 slots; 20 tokens need 2");
  refused(prefill(1, prompt, {3, 3}), "blocks names slot 3 twice");
  refused(prefill(1, {1}, {0}, 512), "start + tokens is 513; allowed: at most 512");
  refused(prefill(1, {1}, {0}, UINT32_MAX), "start + tokens is 4294967296");
  auto bad_sample = prefill(1, {1}, {0});
  bad_sample.samples[0].params.top_p = 2;
  refused(bad_sample, "samples[0].top_p is 2");
  refused(decode_work{1, {}}, "rows is empty");
  refused(decode_work{1, {{1, 512, {0}, greedy()}}}, "rows[0].position is 512");
  refused(decode_work{1, {{1, 0, {0}, greedy()}, {400, 0, {1}, greedy()}}}, "rows[1].token is 400");
  refused(decode_work{1, {{1, 16, {0}, greedy()}}}, "rows[0].blocks has 1 slots; 17 tokens need 2");
  refused(decode_work{1, {{1, 3, {0}, greedy()}, {1, 4, {0}, greedy()}}}, "rows write slot 0 twice");
  auto bad_row = decode_row{1, 0, {0}, greedy()};
  bad_row.sample.params.temperature = -1;
  refused(decode_work{1, {bad_row}}, "rows[0].sample.temperature");
  refused(copy_work{1, {{0, 16}}}, "slots[0].to is 16");
  refused(copy_work{1, {{0, 1}, {2, 2}}}, "slots[1] copies slot 2 to itself");
  CHECK(f.events.layers_of(1).empty());
}

TEST_CASE("stream: options out of range are refused by name") {
  auto weights = model::load(data_models() / "gqa-f32");
  auto events = recorder{};
  CHECK_THROWS_WITH_AS(make_cpu_stream(weights, {0, 16, 1, false, false}, events), doctest::Contains("slots is 0"),
                       failure);
  CHECK_THROWS_WITH_AS(make_cpu_stream(weights, {4, 0, 1, false, false}, events),
                       doctest::Contains("block_tokens is 0"), failure);
  CHECK_THROWS_WITH_AS(make_cpu_stream(weights, {4, 16, 0, false, false}, events), doctest::Contains("threads is 0"),
                       failure);
}

TEST_CASE("engine: ends at an end id, at max_tokens, at the context's end and when told to") {
  auto weights = model::load(data_models() / "gqa-f32");
  auto run = engine{weights, {}};
  auto options = completion_options{};
  options.sampling.temperature = 0;
  options.max_tokens = 1000;
  options.ignore_eos = true;
  auto whole = run.complete_tokens(prompt, options);
  CHECK_EQ(whole.tokens.size(), 512 - prompt.size());
  CHECK_EQ(whole.finish_reason, "length");
  options.chunk_tokens = 3;
  CHECK_EQ(run.complete_tokens(prompt, options).tokens, whole.tokens);
  auto calls = 0;
  auto stopped = run.complete_tokens(prompt, options, [&](std::string_view) { return ++calls < 3; });
  CHECK_EQ(stopped.finish_reason, "stop");
  CHECK_EQ(calls, 3);
  // An end id, drawn sooner or later at a high temperature, ends the text and is not part of it.
  options.ignore_eos = false;
  options.sampling.temperature = 3;
  auto ended = 0;
  for (options.sampling.seed = 0; options.sampling.seed < 20; ++options.sampling.seed) {
    auto result = run.complete_tokens(prompt, options);
    CHECK(std::ranges::find(result.tokens, 2) == result.tokens.end());
    ended += result.finish_reason == "stop" ? 1 : 0;
  }
  CHECK_GT(ended, 0);
  CHECK_THROWS_AS(run.complete_tokens({}, options), failure);
  CHECK_THROWS_AS(run.complete_tokens({400}, options), failure);
  CHECK_THROWS_AS(run.complete_tokens(std::vector<token_id>(512, 5), options), failure);
  options.sampling.top_p = 0;
  CHECK_THROWS_AS(run.complete_tokens(prompt, options), failure);
}

TEST_CASE("bench: figures are there for what fits the context") {
  auto options = bench_options{};
  options.repetitions = 1;
  options.batches = {1, 3};
  options.prompts = {64, 100'000};
  options.suffixes = {0, 16, 32, 64};
  options.decode_steps = 2;
  options.together = true;
  auto result = kernels::bench_engine(model::load(data_models() / "gqa-f32"), options);
  CHECK_GT(result.limits.read_bytes_per_second, 0);
  CHECK_GT(result.limits.f32_flops_per_second, 0);
  REQUIRE_EQ(result.decode.size(), 2);
  REQUIRE_EQ(result.prefill.size(), 3);
  CHECK_EQ(result.prefill[0].reused, 0);
  CHECK_EQ(result.prefill[1].reused, 48);
  CHECK_EQ(result.prefill[2].reused, 32);
  CHECK_GT(result.decode[1].tokens_per_second, 0);
  CHECK_GT(result.prefill[0].gemm_ratio, 0);
  CHECK_GE(result.together.prefill, 1);
  CHECK_GE(result.together.step, 1);
}
