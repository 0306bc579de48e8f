// SPDX-License-Identifier: Apache-2.0
// Our own goldens (tests/data/README.md) and, where it lies beside the checkout, the optional reference data.
#include "kernels/engine.hpp"
#include "kernels/model/detokenizer.hpp"
#include "tests/kernels/support.hpp"

#include <fstream>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace json = boost::json;

namespace {

struct golden {
  std::string name;
  std::filesystem::path dir;
  json::object answers;
};

std::vector<golden> goldens() {
  auto result = std::vector<golden>{};
  for (const auto& entry : std::filesystem::directory_iterator{data_models()})
    if (auto file = entry.path() / "golden.json"; std::filesystem::exists(file))
      result.push_back({entry.path().filename().string(), entry.path(), read_json_object(file, 64 << 20)});
  auto demo = testing::source_dir() / "apps" / "demo" / "model";
  auto demo_answers = testing::source_dir() / "tests" / "data" / "demo-golden.json";
  if (std::filesystem::exists(demo_answers))
    result.push_back({"demo", demo, read_json_object(demo_answers, 64 << 20)});
  std::ranges::sort(result, {}, &golden::name);
  return result;
}

void check_tokenizer(const tokenizer& tokens, const json::array& cases) {
  for (const auto& entry : cases) {
    const auto& object = entry.as_object();
    auto ids = numbers<token_id>(object.at("ids"));
    auto decoded = std::string{object.at("decoded").as_string()};
    if (!object.at("text").is_null()) {
      auto text = std::string{object.at("text").as_string()};
      CAPTURE(text);
      CHECK_EQ(tokens.encode(text), ids);
    }
    CAPTURE(decoded);
    CHECK_EQ(tokens.decode(ids), decoded);
  }
}

/// Follows the golden path with some options: the first logits, then every step.
void check_path(const golden& g, const json::object& prompt, const cpu::transformer_options& options, double tolerance,
                bool exact) {
  auto weights = model::load(g.dir);
  auto ids = numbers<token_id>(prompt.at("ids"));
  auto greedy = numbers<token_id>(prompt.at("greedy"));
  auto engine = sequence_engine{weights, options, static_cast<uint32_t>(ids.size() + greedy.size())};
  auto logits = engine.run(ids, 0);
  CHECK_LE(largest_difference(logits, numbers<float>(prompt.at("first_logits"))), tolerance);
  exact = exact || prompt.at("min_gap").to_number<double>() > 2 * tolerance;
  auto position = static_cast<uint32_t>(ids.size());
  for (auto expected : greedy) {
    if (exact)
      REQUIRE_EQ(arg_max(logits), expected);
    else
      REQUIRE_GE(logits[static_cast<size_t>(expected)], *std::ranges::max_element(logits) - 2 * tolerance);
    logits = engine.run({&expected, 1}, position++);
  }
}

} // namespace

TEST_CASE("goldens: the tokenizers give the ids and texts of the reference tokenizer") {
  auto all = goldens();
  REQUIRE_GE(all.size(), 7);
  for (const auto& g : all) {
    CAPTURE(g.name);
    check_tokenizer(tokenizer{g.dir / "tokenizer.json"}, g.answers.at("tokenizer").as_array());
  }
}

TEST_CASE("goldens: the forward pass gives the logits and greedy tokens of the reference") {
  for (const auto& g : goldens())
    for (const auto& prompt : g.answers.at("prompts").as_array()) {
      CAPTURE(g.name);
      CAPTURE(prompt.at("ids").as_array().size());
      auto tolerance = g.answers.at("logits_tolerance").to_number<double>();
      auto exact = g.answers.at("exact_tokens").as_bool();
      for (auto reference : {false, true})
        for (auto invariant : {false, true})
          check_path(g, prompt.as_object(), {2, reference, invariant}, tolerance, exact);
    }
}

TEST_CASE("goldens: int8 weights keep the logits near those of the stored weights, in any batch and on any kernels") {
  for (const auto& g : goldens()) {
    CAPTURE(g.name);
    auto weights = model::load(g.dir, {true});
    CHECK(weights->int8());
    CHECK(weights->fingerprint(16) != model::load(g.dir)->fingerprint(16));
    for (const auto& prompt : g.answers.at("prompts").as_array()) {
      auto ids = numbers<token_id>(prompt.at("ids"));
      auto count = static_cast<uint32_t>(ids.size());
      auto expected = numbers<float>(prompt.at("first_logits"));
      auto fast = sequence_engine{weights, {2, false, true}, count}.run(ids, 0);
      CHECK_LE(largest_difference(fast, expected), 0.35f); // logits reach about 3
      auto reference = sequence_engine{weights, {1, true, false}, count}.run(ids, 0);
      CHECK_LE(largest_difference(fast, reference), 0.15f);
      auto pass = sequence_engine{weights, {2, false, true}, count};
      auto logits = std::vector<float>{};
      for (auto i = 0u; i < count; ++i)
        logits = pass.run({&ids[i], 1}, i);
      CHECK_EQ(largest_difference(logits, fast), 0);
    }
  }
}

TEST_CASE("goldens: the engine completes the f32 models token for token") {
  for (const auto& g : goldens()) {
    if (!g.answers.at("exact_tokens").as_bool())
      continue;
    CAPTURE(g.name);
    auto weights = model::load(g.dir);
    auto run = engine{weights, {}};
    for (const auto& prompt : g.answers.at("prompts").as_array()) {
      auto greedy = numbers<token_id>(prompt.at("greedy"));
      auto options = completion_options{};
      options.max_tokens = static_cast<uint32_t>(greedy.size());
      options.ignore_eos = true;
      options.sampling.temperature = 0;
      auto text = std::string{};
      auto result = run.complete(std::string{prompt.at("text").as_string()}, options, [&](std::string_view piece) {
        text += piece;
        return true;
      });
      CHECK_EQ(result.prompt_tokens, numbers<token_id>(prompt.at("ids")));
      CHECK_EQ(result.tokens, greedy);
      CHECK_EQ(result.text, text);
      CHECK_EQ(result.finish_reason, "length");
    }
  }
}

TEST_CASE("reference data: stories260k tokens, logits and tokenizer cases are reproduced exactly") {
  auto dir = testing::shared("models/stories260k");
  if (!dir)
    return testing::skip("../shared/models/stories260k is not there");
  auto weights = model::load(*dir);
  const auto& tokens = weights->tokens();
  for (auto* name : {"golden_tokenizer.json", "golden_tokenizer_special.json"}) {
    auto cases = read_json_object(*dir / name, 1 << 20);
    for (const auto& entry : cases.at("cases").as_array()) {
      auto text = std::string{entry.at("text").as_string()};
      CAPTURE(text);
      auto ids = numbers<token_id>(entry.at("ids"));
      CHECK_EQ(tokens.encode(text), ids);
      auto* decoded = entry.as_object().if_contains("decoded");
      CHECK_EQ(tokens.decode(ids), std::string{(decoded ? decoded : &entry.at("decoded_skip_special"))->as_string()});
    }
  }
  auto file = std::ifstream{*dir / "golden_first_logits.f32", std::ios::binary};
  auto answers = read_json_object(*dir / "golden_generate.json", 1 << 20);
  for (const auto& prompt : answers.at("prompts").as_array()) {
    auto expected = std::vector<float>(weights->config().vocab);
    file.read(reinterpret_cast<char*>(expected.data()), static_cast<std::streamsize>(4 * expected.size()));
    REQUIRE(file.good());
    auto ids = numbers<token_id>(prompt.at("prompt_ids"));
    auto greedy = numbers<token_id>(prompt.at("greedy_ids"));
    auto options = completion_options{};
    options.max_tokens = static_cast<uint32_t>(greedy.size());
    options.ignore_eos = true;
    options.sampling.temperature = 0;
    for (auto reference : {false, true}) {
      auto pass = sequence_engine{weights, {1, reference, false}, 64};
      CHECK_LE(largest_difference(pass.run(ids, 0), expected), 1e-3f);
      auto run = engine{weights, {2, 16, reference, false}};
      auto result = run.complete(std::string{prompt.at("prompt").as_string()}, options);
      CHECK_EQ(result.prompt_tokens, ids);
      CHECK_EQ(result.tokens, greedy);
      CHECK_EQ(std::string{prompt.at("prompt").as_string()} + result.text,
               std::string{prompt.at("greedy_text").as_string()});
    }
  }
}

TEST_CASE("reference data: tiny-random-bf16 agrees within the tolerance of bf16") {
  auto dir = testing::shared("models/tiny-random-bf16");
  if (!dir)
    return testing::skip("../shared/models/tiny-random-bf16 is not there");
  auto weights = model::load(*dir);
  auto answers = read_json_object(*dir / "golden.json", 1 << 20);
  auto ids = numbers<token_id>(answers.at("prompt_ids"));
  auto logits = sequence_engine{weights, {2, false, false}, 64}.run(ids, 0);
  for (const auto& pair : answers.at("last_logits_top16").as_array())
    CHECK_LE(std::abs(logits[pair.at(0).to_number<size_t>()] - pair.at(1).to_number<float>()), 2e-2f);
  auto first = numbers<float>(answers.at("last_logits_first16"));
  CHECK_LE(largest_difference(std::span{logits}.first(16), first), 2e-2f);
}
