// SPDX-License-Identifier: Apache-2.0
#include "actors/edge/model_text.hpp"
#include "apps/perigee/model_facts.hpp"
#include "kernels/engine.hpp"
#include "tests/support/testing.hpp"

#include <boost/json/parse.hpp>

#include <fstream>
#include <iterator>

using namespace perigee;
using namespace perigee::cli;
using perigee::gateway::chat_style;

namespace fs = std::filesystem;

namespace {

fs::path model_dir(const std::string& name) {
  return testing::source_dir() / "tests" / "data" / "models" / name;
}

std::string read_text(const fs::path& path) {
  auto file = std::ifstream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::vector<token_id> ids_of(const boost::json::value& list) {
  auto ids = std::vector<token_id>{};
  for (const auto& item : list.as_array())
    ids.push_back(item.to_number<token_id>());
  return ids;
}

/// A copy of a model's small files and a link to its weights.
fs::path copy_of(const std::string& name) {
  auto dir = testing::scratch_dir();
  for (const auto& item : fs::directory_iterator{model_dir(name)})
    fs::copy(item.path(), dir / item.path().filename());
  return dir;
}

} // namespace

TEST_CASE("facts_of: sizes, end ids and the chat form come from the model's directory") {
  auto bytelevel = facts_of(*kernels::model::load(model_dir("f16-bytelevel")), "org/tiny");
  CHECK(bytelevel.id == "org/tiny");
  CHECK(bytelevel.created > 0);
  CHECK(bytelevel.context_tokens == 512);
  CHECK(bytelevel.eos_ids == std::vector<token_id>{324, 327});
  CHECK(bytelevel.chat.style == chat_style::llama_3);
  CHECK(bytelevel.token_bytes_max >= 11);
  auto chatml = facts_of(*kernels::model::load(model_dir("gqa-f32")), "x");
  CHECK(chatml.vocabulary == 326);
  CHECK(chatml.eos_ids == std::vector<token_id>{2});
  CHECK(chatml.chat.style == chat_style::chatml);
  CHECK(chatml.token_bytes_max >= 12);
  CHECK(facts_of(*kernels::model::load(model_dir("sharded-f32")), "x").chat.style == chat_style::llama_2);
  CHECK(facts_of(*kernels::model::load(model_dir("bf16-llama3")), "x").chat.style == chat_style::plain);
}

TEST_CASE("facts_of: a template in a file of its own counts, and no chat files at all mean the plain form") {
  auto dir = copy_of("bf16-llama3");
  std::ofstream{dir / "chat_template.jinja"} << "{{ '<|im_start|>' + message['role'] }}";
  CHECK(facts_of(*kernels::model::load(dir), "x").chat.style == chat_style::chatml);
  fs::remove(dir / "chat_template.jinja");
  fs::remove(dir / "tokenizer_config.json");
  CHECK(facts_of(*kernels::model::load(dir), "x").chat.style == chat_style::plain);
}

TEST_CASE("facts_of: a chat file that is absurdly large is refused by name") {
  auto dir = copy_of("bf16-llama3");
  std::ofstream{dir / "chat_template.jinja"} << "x";
  fs::resize_file(dir / "chat_template.jinja", uint64_t{17} << 20);
  auto model = kernels::model::load(dir);
  CHECK_THROWS_WITH_AS(facts_of(*model, "x"), doctest::Contains("chat_template.jinja: has 17825792 bytes"), failure);
}

TEST_CASE("model_encoder: prompts encode as the engine's do, special tokens only where they may") {
  auto model = kernels::model::load(model_dir("gqa-f32"));
  auto encoder = model_encoder{model};
  auto golden = boost::json::parse(read_text(model_dir("gqa-f32") / "golden.json"));
  for (const auto& prompt : golden.at("prompts").as_array())
    CHECK(encoder.encode(std::string{prompt.at("text").as_string()}, true, true) == ids_of(prompt.at("ids")));
  auto with = encoder.encode("a", true, true);
  auto without = encoder.encode("a", false, true);
  CHECK(with.front() == 1);
  with.erase(with.begin());
  CHECK(with == without);
  CHECK(encoder.encode("<|im_end|>", false, true).size() == 1);
  CHECK(encoder.encode("<|im_end|>", false, false).size() > 1);
}

TEST_CASE("model_text: a session's text is what `perigee complete` prints for the same ids") {
  for (auto name : {"gqa-f32", "f16-bytelevel"}) {
    CAPTURE(name);
    auto model = kernels::model::load(model_dir(name));
    auto engine = kernels::engine{model, {}};
    auto make = make_text_decoders(model);
    auto options = kernels::completion_options{};
    options.max_tokens = 24;
    options.ignore_eos = true;
    for (auto seed : {1u, 2u, 3u}) {
      options.sampling.temperature = 1.5f; // random weights: odd ids, broken characters among them
      options.sampling.seed = seed;
      auto done = engine.complete("Once upon", options);
      auto decoder = make(done.prompt_tokens);
      auto text = std::string{};
      for (auto id : done.tokens)
        text += decoder->push(id);
      text += decoder->flush();
      CHECK(text == done.text);
      CHECK(!text.empty());
    }
  }
}
