// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/node/cluster_fixture.hpp"
#include "tests/support/testing.hpp"

#include <boost/json.hpp>

#include <fstream>
#include <sstream>

using namespace perigee;
using namespace perigee::testing;

namespace {

struct golden_prompt {
  std::vector<token_id> ids;
  std::vector<token_id> greedy;
};

std::shared_ptr<const kernels::model> model() {
  static auto loaded = kernels::model::load(source_dir() / "tests/data/models/gqa-f32");
  return loaded;
}

const std::vector<golden_prompt>& goldens() {
  static const auto all = [] {
    auto text = std::stringstream{};
    text << std::ifstream{source_dir() / "tests/data/models/gqa-f32/golden.json"}.rdbuf();
    auto file = boost::json::parse(text.str());
    auto prompts = std::vector<golden_prompt>{};
    for (const auto& item : file.at("prompts").as_array())
      prompts.push_back({boost::json::value_to<std::vector<token_id>>(item.at("ids")),
                         boost::json::value_to<std::vector<token_id>>(item.at("greedy"))});
    return prompts;
  }();
  return all;
}

std::vector<open_request> golden_requests() {
  auto requests = std::vector<open_request>{};
  for (const auto& prompt : goldens())
    requests.push_back(process_cluster::greedy(prompt.ids, static_cast<uint32_t>(prompt.greedy.size())));
  return requests;
}

void check_golden(const std::vector<answer>& answers) {
  REQUIRE_EQ(answers.size(), goldens().size());
  for (auto i = size_t{0}; i < answers.size(); ++i) {
    CAPTURE(i);
    CHECK_EQ(answers[i].error, ec::none);
    CHECK_EQ(answers[i].detail, "");
    CHECK_EQ(answers[i].tokens[0], goldens()[i].greedy);
    CHECK_EQ(answers[i].finish[0], finish_reason::length);
  }
}

/// Equal prefixes only where `first` is equal.
std::vector<token_id> long_prompt(size_t tokens, token_id first = 5) {
  auto prompt = std::vector<token_id>{first};
  for (auto i = size_t{1}; i < tokens; ++i)
    prompt.push_back(static_cast<token_id>(5 + i * i % 190));
  return prompt;
}

/// The next turn: the prompt, its answer, and one more token.
std::vector<token_id> longer(const shared_list<token_id>& prompt, const std::vector<token_id>& answer, token_id last) {
  auto all = std::vector<token_id>(prompt.begin(), prompt.end());
  all.insert(all.end(), answer.begin(), answer.end());
  all.push_back(last);
  return all;
}

} // namespace

TEST_CASE("node: prompts give the reference tokens, one by one, all at once, cold and warm, for any shape") {
  constexpr auto always = conditional{1'000'000, 2.0};
  for (auto shape : {cluster_shape{1, 1, 0}, cluster_shape{1, 1, 1}, cluster_shape{2, 3, 2},
                     cluster_shape{.prefills = 3, .decodes = 1, .shards = 3, .shard_slots = 4},
                     cluster_shape{.prefills = 1, .decodes = 2, .shards = 0, .at_decode = always},
                     cluster_shape{.prefills = 2, .decodes = 2, .shards = 2, .chunk_tokens = 16, .at_decode = always},
                     cluster_shape{.prefills = 0, .decodes = 2, .shards = 2, .coupled = coupling::chunked},
                     cluster_shape{.prefills = 0, .decodes = 1, .shards = 1, .chunk_tokens = 16,
                                   .coupled = coupling::prefill_first}}) {
    CAPTURE(shape.prefills);
    CAPTURE(shape.shards);
    CAPTURE(static_cast<int>(shape.coupled));
    auto cluster = process_cluster{model(), shape};
    for (const auto& request : golden_requests()) {
      auto one = cluster.run({request});
      CHECK(one[0].over);
    }
    check_golden(cluster.run(golden_requests()));
    check_golden(cluster.run(golden_requests()));
    CHECK(cluster.becomes_idle());
  }
}

namespace {

/// A stream on the processor that cannot be lent anything.
class separate_stream final : public kernels::stream {
public:
  separate_stream(const kernels::stream_options& how, kernels::stream_events& events)
    : inner_(kernels::make_cpu_stream(model(), how, events)) {}

  const kernels::kv_layout& layout() const override {
    return inner_->layout();
  }
  std::span<std::byte> pool() override {
    return inner_->pool();
  }
  uint32_t slots() const override {
    return inner_->slots();
  }
  void submit(kernels::prefill_work work) override {
    inner_->submit(std::move(work));
  }
  void submit(kernels::decode_work work) override {
    inner_->submit(std::move(work));
  }
  void submit(kernels::copy_work work) override {
    inner_->submit(std::move(work));
  }
  void cancel(uint64_t id) override {
    inner_->cancel(id);
  }

private:
  std::unique_ptr<kernels::stream> inner_;
};

std::shared_ptr<device> separate_device(const kernels::stream_options& how) {
  auto made = std::make_shared<device>();
  made->events = std::make_unique<stream_forwarder>();
  made->stream = std::make_unique<separate_stream>(how, *made->events);
  return made;
}

} // namespace

TEST_CASE("node: a prefix that is lent gives the tokens of one that is copied, and no byte of it moves") {
  auto block_bytes = model()->layout(16).block_bytes();
  for (auto prefills : {0u, 1u}) {
    CAPTURE(prefills);
    auto shape = cluster_shape{.prefills = prefills};
    shape.coupled = prefills == 0 ? coupling::chunked : coupling::none;
    auto apart = shape;
    apart.make_device = separate_device;
    auto lending = process_cluster{model(), shape};
    auto copying = process_cluster{model(), apart};
    auto request = process_cluster::greedy(long_prompt(77), 20);
    request.choices = 2;
    auto cold = copying.run({request});
    REQUIRE_EQ(cold[0].error, ec::none);
    CHECK_EQ(lending.run({request})[0].tokens, cold[0].tokens);
    for (auto* cluster : {&lending, &copying}) {
      CHECK(cluster->becomes_idle());
      CHECK(cluster->comes_to_hold(6)); // Also what was generated, which decode offers last.
    }
    auto before = lending.moved().copied_bytes;
    auto before_apart = copying.moved().copied_bytes;
    for (auto* cluster : {&lending, &copying}) {
      auto warm = cluster->run({request});
      CHECK_EQ(warm[0].end.cached_tokens, 64);
      CHECK_EQ(warm[0].tokens, cold[0].tokens);
      CHECK(cluster->becomes_idle());
    }
    // The decode instance finds the prefix at the same shard.
    CHECK_EQ(lending.moved().copied_bytes - before, prefills * block_bytes);
    CHECK_EQ(copying.moved().copied_bytes - before_apart, (4 + prefills * 5) * block_bytes);
  }
}

TEST_CASE("node: a repeated prompt is cached but for its last token") {
  auto cluster = process_cluster{model(), {}};
  for (auto [tokens, cached] : {std::pair{45u, 32u}, std::pair{48u, 47u}, std::pair{3u, 0u}}) {
    CAPTURE(tokens);
    auto request = process_cluster::greedy(long_prompt(tokens, static_cast<token_id>(200 + tokens)), 20);
    auto cold = cluster.run({request});
    CHECK_EQ(cold[0].end.cached_tokens, 0);
    CHECK(cluster.becomes_idle());
    auto warm = cluster.run({request});
    CHECK_EQ(warm[0].end.cached_tokens, cached);
    CHECK_EQ(warm[0].tokens, cold[0].tokens);
  }
}

TEST_CASE("node: generated text is found again by the next turn") {
  auto cluster = process_cluster{model(), {}};
  auto first = process_cluster::greedy(long_prompt(30), 40);
  auto answer = cluster.run({first});
  CHECK(cluster.comes_to_hold(4));
  auto second = first;
  second.prompt = longer(second.prompt, answer[0].tokens[0], 7);
  // 30 + 40 tokens, the last of which was never fed: four full blocks.
  CHECK_EQ(cluster.run({second})[0].end.cached_tokens, 64);
}

TEST_CASE("node: peers may write to the pool of an instance that has ended, as long as there is a fabric") {
  auto devices = std::vector<std::weak_ptr<device>>{};
  auto shape = cluster_shape{};
  shape.make_device = [&](const kernels::stream_options& how) {
    auto work = std::make_shared<device>();
    work->events = std::make_unique<stream_forwarder>();
    work->stream = kernels::make_cpu_stream(model(), how, *work->events);
    devices.push_back(work);
    return work;
  };
  {
    auto cluster = process_cluster{model(), shape};
    CHECK_EQ(cluster.run({process_cluster::greedy(long_prompt(30), 4)})[0].detail, "");
    cluster.end_helpers();
    for (const auto& each : devices)
      CHECK_FALSE(each.expired());
  }
  CHECK_EQ(devices.size(), 2);
  for (const auto& each : devices)
    CHECK(each.expired());
}

TEST_CASE("node: what is mostly cached is computed by the decode instance, with the same tokens as otherwise") {
  auto apart = process_cluster{model(), {}};
  auto joint = process_cluster{model(), {.at_decode = conditional{64, 0.7}}};
  auto turn = process_cluster::greedy(long_prompt(100), 40);
  for (auto i = 0; i < 4; ++i) {
    auto expected = apart.run({turn});
    auto got = joint.run({turn});
    CHECK_EQ(got[0].detail, "");
    CHECK_EQ(got[0].tokens, expected[0].tokens);
    if (i > 0)
      CHECK_GT(got[0].end.cached_tokens, turn.prompt.size() / 2);
    CHECK(joint.becomes_idle());
    CHECK(joint.comes_to_hold(turn.prompt.size() / 16));
    turn.prompt = longer(turn.prompt, got[0].tokens[0], static_cast<token_id>(7 + i));
  }
  CHECK_EQ(joint.status().placements, 4);
}

TEST_CASE("node: several choices of one prompt differ, and each is what it would be alone") {
  auto cluster = process_cluster{model(), {2, 2, 2}};
  auto request = process_cluster::greedy(long_prompt(37), 24);
  request.sampling.temperature = 0.9f;
  request.sampling.seed = 42;
  request.seeded = true;
  request.choices = 3;
  auto together = cluster.run({request});
  auto again = cluster.run({request});
  CHECK_EQ(together[0].tokens, again[0].tokens);
  CHECK(together[0].tokens[0] != together[0].tokens[1]);
  CHECK(together[0].tokens[1] != together[0].tokens[2]);
  request.choices = 1;
  CHECK_EQ(cluster.run({request})[0].tokens[0], together[0].tokens[0]);
}

TEST_CASE("node: decode preempts when its blocks run out, and nobody notices") {
  auto roomy = process_cluster{model(), {}};
  auto shape = cluster_shape{.slots = 14};
  SUBCASE("prompts are computed elsewhere") {}
  SUBCASE("short rests of prompts are computed by decode") {
    shape.at_decode = conditional{64, 0.7};
  }
  SUBCASE("decode computes all prompts") {
    shape.prefills = 0;
    shape.coupled = coupling::chunked;
  }
  auto tight = process_cluster{model(), shape};
  auto requests = std::vector<open_request>{};
  for (auto i = 0; i < 6; ++i) {
    requests.push_back(process_cluster::greedy(long_prompt(40, i + 100), 60));
  }
  auto expected = roomy.run(requests);
  auto answers = tight.run(requests);
  for (auto i = size_t{0}; i < requests.size(); ++i) {
    CHECK_EQ(answers[i].detail, "");
    CHECK_EQ(answers[i].tokens, expected[i].tokens);
  }
  CHECK(tight.becomes_idle());
}

TEST_CASE("node: what cannot fit is refused with the numbers") {
  auto cluster = process_cluster{model(), {.slots = 4}};
  auto answers = cluster.run({process_cluster::greedy(long_prompt(100), 5)});
  CHECK_EQ(answers[0].error, ec::too_long);
  CHECK(answers[0].detail.find("100") != std::string::npos);
}

TEST_CASE("node: an end id ends a choice, also as its first token") {
  auto cluster = process_cluster{model(), {}};
  auto request = process_cluster::greedy(goldens()[0].ids, 40);
  auto free_running = cluster.run({request})[0].tokens[0];
  for (auto at : {size_t{0}, size_t{5}}) {
    request.sampling.stop_ids = {free_running[at]};
    auto until = std::find(free_running.begin(), free_running.end(), free_running[at]) - free_running.begin();
    auto stopped = cluster.run({request});
    CHECK_EQ(stopped[0].finish[0], finish_reason::stop);
    CHECK_EQ(stopped[0].tokens[0].size(), static_cast<size_t>(until) + 1);
  }
  CHECK(cluster.becomes_idle());
}
