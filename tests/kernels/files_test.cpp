// SPDX-License-Identifier: Apache-2.0
// Model files as people and attackers write them.
#include "kernels/model/fingerprint.hpp"
#include "kernels/model/safetensors.hpp"
#include "tests/kernels/support.hpp"

#include <cstdlib>
#include <fstream>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, std::string_view bytes) {
  std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes;
}

std::string read(const fs::path& path) {
  auto in = std::ifstream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::string safetensors(std::string header, size_t data_bytes) {
  auto out = std::string{};
  for (auto i = 0; i < 8; ++i)
    out += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return out + header + std::string(data_bytes, '\1');
}

/// The error of `body`, which must be a `failure` with the given code.
template <class Body>
std::string refused(errc code, Body&& body) {
  try {
    body();
  } catch (const failure& error) {
    CHECK_EQ(error.code(), code);
    return error.what();
  }
  FAIL("nothing was refused");
  return {};
}

void check_contains(const std::string& text, std::string_view part) {
  CAPTURE(text);
  CHECK(text.find(part) != std::string::npos);
}

fs::path copy_of(const char* name) {
  auto dir = testing::scratch_dir();
  for (const auto& entry : fs::directory_iterator{data_models() / name})
    fs::copy_file(entry.path(), dir / entry.path().filename());
  return dir;
}

/// `file` in a copy of a model with `from` replaced by `to`.
fs::path changed(const char* name, const char* file, std::string_view from, std::string_view to) {
  auto dir = copy_of(name);
  auto text = read(dir / file);
  auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  write(dir / file, text.replace(at, from.size(), to));
  return dir;
}

std::string broken_tensors(const std::string& bytes) {
  auto dir = testing::scratch_dir();
  write(dir / "model.safetensors", bytes);
  return refused(errc::invalid_argument, [&] { tensor_store{dir}; });
}

} // namespace

TEST_CASE("safetensors: tensors of a file and of shards are found by name") {
  auto one = tensor_store{data_models() / "gqa-f32"};
  auto shards = tensor_store{data_models() / "sharded-f32"};
  CHECK_EQ(one.files().size(), 1);
  CHECK_EQ(shards.files().size(), 2);
  auto shape = std::vector<uint64_t>{339, 32};
  CHECK_EQ(shards.require("model.embed_tokens.weight", shape).bytes.size(), 339 * 32 * 4);
  CHECK(shards.find("nothing") == nullptr);
  check_contains(refused(errc::invalid_argument, [&] { shards.require("nothing", shape); }), "\"nothing\" is missing");
  shape[0] = 340;
  check_contains(refused(errc::invalid_argument, [&] { shards.require("model.embed_tokens.weight", shape); }),
                 "\"model.embed_tokens.weight\" has shape [339, 32]; the configuration asks for [340, 32]");
}

TEST_CASE("safetensors: malformed files are refused with the tensor or key named") {
  auto entry = [](const char* offsets) {
    return std::string{R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":)"} + offsets + "}}";
  };
  CHECK_EQ(tensor_store{[&] {
             auto dir = testing::scratch_dir();
             write(dir / "model.safetensors", safetensors(entry("[0,16]"), 16));
             return dir;
           }()}
             .tensors()
             .size(),
           1);
  check_contains(broken_tensors(""), "is truncated");
  check_contains(broken_tensors("1234567"), "is truncated");
  check_contains(broken_tensors(std::string(8, '\xff')), "says its header has 18446744073709551615 bytes");
  check_contains(broken_tensors(safetensors(entry("[0,16]"), 16).substr(0, 30)), "says its header has");
  check_contains(broken_tensors(safetensors("{\"a\":", 0)), "is not valid JSON");
  check_contains(broken_tensors(safetensors("[]", 0)), "must be a JSON object");
  check_contains(broken_tensors(safetensors(std::string(1000, '['), 0)), "is not valid JSON");
  check_contains(broken_tensors(safetensors(R"({"a":3})", 0)), "tensor \"a\": must be an object");
  check_contains(broken_tensors(safetensors(entry("[0,16]"), 12)), "tensor \"a\": data_offsets [0, 16] reach outside");
  check_contains(broken_tensors(safetensors(entry("[8,4]"), 16)), "reach outside");
  check_contains(broken_tensors(safetensors(entry("[0,12]"), 12)), "tensor \"a\": shape [2, 2] of F32 needs 16 bytes");
  check_contains(broken_tensors(safetensors(entry("[0,-16]"), 16)), "\"data_offsets\"");
  check_contains(broken_tensors(safetensors(entry("[0]"), 16)), "\"data_offsets\"");
  check_contains(broken_tensors(safetensors(entry("[4,20]"), 20)), "4 bytes before tensor \"a\"");
  check_contains(broken_tensors(safetensors(entry("[0,16]"), 17)), "1 bytes after the last tensor");
  check_contains(broken_tensors(safetensors(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                                            R"("b":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]}})",
                                            24)),
                 "tensor \"b\" at [8, 24) overlaps");
  check_contains(
    broken_tensors(safetensors(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}})", 16)),
    "more bytes than 64 bits count");
  check_contains(broken_tensors(safetensors(R"({"a":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}})", 8)),
                 "\"dtype\"");
  check_contains(
    broken_tensors(safetensors(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4)),
    "at most 8 dimensions");
  check_contains(refused(errc::not_found, [] { tensor_store{testing::scratch_dir()}; }), "model.safetensors");
}

TEST_CASE("safetensors: an index that names other places, missing files or the wrong shard is refused") {
  auto with = [](std::string_view from, std::string_view to) {
    return changed("sharded-f32", "model.safetensors.index.json", from, to);
  };
  auto shard = std::string_view{"\"model-00001-of-00002.safetensors\""};
  check_contains(refused(errc::invalid_argument, [&] { tensor_store{with(shard, "\"../model.safetensors\"")}; }),
                 "a plain file name in the same directory");
  check_contains(refused(errc::invalid_argument, [&] { tensor_store{with(shard, "17")}; }), "must be a file name");
  check_contains(refused(errc::not_found, [&] { tensor_store{with(shard, "\"other.safetensors\"")}; }),
                 "other.safetensors");
  check_contains(
    refused(errc::invalid_argument, [&] { tensor_store{with(shard, "\"model-00002-of-00002.safetensors\"")}; }),
    "not in model-00002-of-00002.safetensors");
  check_contains(refused(errc::invalid_argument, [&] { tensor_store{with("\"weight_map\"", "\"weights\"")}; }),
                 "\"weight_map\"");
}

TEST_CASE("config: what is missing, out of range or not supported is refused by key") {
  auto error = [](errc code, std::string_view from, std::string_view to) {
    auto dir = changed("gqa-f32", "config.json", from, to);
    return refused(code, [&] { load_config(dir); });
  };
  constexpr auto bad = errc::invalid_argument;
  check_contains(error(bad, "\"hidden_size\": 36", "\"hidden_size\": 0"),
                 "key \"hidden_size\" is 0; allowed: an integer from 1");
  check_contains(error(bad, "\"hidden_size\": 36", "\"hidden\": 36"), "key \"hidden_size\" is missing");
  check_contains(error(bad, "\"hidden_size\": 36", "\"hidden_size\": \"36\""), "key \"hidden_size\" is \"36\"");
  check_contains(error(bad, "\"num_key_value_heads\": 3", "\"num_key_value_heads\": 4"),
                 "a divisor of num_attention_heads = 6");
  check_contains(error(bad, "\"head_dim\": 10", "\"head_dim\": 11"), "an even number");
  check_contains(error(bad, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1e30"), "num_hidden_layers");
  check_contains(error(bad, "\"eos_token_id\": 2", "\"eos_token_id\": 999"), "eos_token_id");
  check_contains(error(bad, "{", "[{"), "is not valid JSON");
  check_contains(error(bad, "\"rope_scaling\": null", R"("rope_scaling": {"rope_type": "linear"})"),
                 "key \"factor\" is missing");
  constexpr auto other = errc::unsupported;
  check_contains(error(other, "LlamaForCausalLM", "GPT2LMHeadModel"), "architectures");
  check_contains(error(other, "\"silu\"", "\"gelu\""), "hidden_act");
  check_contains(error(other, "\"attention_bias\": false", "\"attention_bias\": true"), "attention_bias");
  check_contains(error(other, "\"rope_scaling\": null", R"("rope_scaling": {"type": "longrope", "factor": 2})"),
                 "depend on the length the sequence has so far");
  check_contains(error(other, "\"rope_scaling\": null", R"("rope_scaling": {"type": "mrope", "factor": 2})"),
                 "\"mrope\"");
  check_contains(error(bad, "\"rope_scaling\": null",
                       R"("rope_scaling": {"rope_type": "yarn", "factor": 2, "beta_fast": 1, "beta_slow": 2})"),
                 "key \"beta_fast\"");
  check_contains(error(other, "\"rope_scaling\": null", R"("sliding_window": 128)"), "sliding_window");
  check_contains(refused(errc::not_found, [] { model::load("no such folder"); }), "no such folder: is not a directory");
}

TEST_CASE("config: rotary frequencies of the plain, linear and Llama 3 forms have the published values") {
  auto rope = rope_config{};
  auto plain = inverse_frequencies(rope, 8, 100);
  for (auto i = 0; i < 4; ++i)
    CHECK_EQ(plain[i], doctest::Approx(std::pow(10.0, -i)));
  rope.scaling.kind = rope_scaling::form::linear;
  rope.scaling.factor = 4;
  CHECK_EQ(inverse_frequencies(rope, 8, 100)[2], doctest::Approx(0.0025));
  // 100 positions: wavelengths 6.3, 63, 628, 6283 make 15.9, 1.59, 0.159 and 0.0159 turns.
  rope.scaling = {rope_scaling::form::llama3, 8, 1, 4, 100, 32, 1, true, 1, {}};
  auto scaled = inverse_frequencies(rope, 8, 100);
  auto smooth = (100 * 0.1 / (2 * 3.14159265358979) - 1) / 3;
  CHECK_EQ(scaled[0], doctest::Approx(1));
  CHECK_EQ(scaled[1], doctest::Approx(0.1 * ((1 - smooth) / 8 + smooth)));
  CHECK_EQ(scaled[2], doctest::Approx(0.01 / 8));
}

TEST_CASE("config: dynamic NTK and YaRN depend on the configured context, and not on any length") {
  auto rope = rope_config{};
  rope.scaling = {rope_scaling::form::dynamic, 2, 1, 4, 100, 32, 1, true, 1, {}};
  CHECK_EQ(inverse_frequencies(rope, 8, 100)[1], doctest::Approx(0.1)); // not stretched at all
  // Twice the length: the base grows by (2 × 2 - 1) ^ (8 / 6).
  CHECK_EQ(inverse_frequencies(rope, 8, 200)[1], doctest::Approx(std::pow(10000 * std::pow(3.0, 8.0 / 6), -0.25)));
  CHECK(rope_fields(rope, 100) != rope_fields(rope, 200));
  // 1000 positions: pairs 0 to 3 turn 159, 15.9, 1.59 and 0.159 times; 32 turns are at index 0.70, one is at 2.2.
  rope.scaling = {rope_scaling::form::yarn, 4, 1, 4, 1000, 32, 1, true, 1, {}};
  auto scaled = inverse_frequencies(rope, 8, 4000);
  CHECK_EQ(scaled[0], doctest::Approx(1));
  CHECK_EQ(scaled[1], doctest::Approx(0.1 * (2.0 / 3 + 1.0 / 3 / 4)));
  CHECK_EQ(scaled[2], doctest::Approx(0.01 * (1.0 / 3 + 2.0 / 3 / 4)));
  CHECK_EQ(scaled[3], doctest::Approx(0.001 / 4));
}

TEST_CASE("config: windows follow the family's rules, and those that reach the whole context are none") {
  auto windows = [](const char* name, std::string_view from, std::string_view to) {
    return load_config(changed(name, "config.json", from, to)).windows;
  };
  using list = std::vector<uint32_t>;
  CHECK_EQ(load_config(data_models() / "mistral-f32").windows, list{24, 24});
  CHECK_EQ(windows("mistral-f32", "\"sliding_window\": 24", "\"sliding_window\": null"), list{});
  CHECK_EQ(windows("mistral-f32", "\"sliding_window\": 24", "\"sliding_window\": 512"), list{});
  CHECK_EQ(load_config(data_models() / "qwen2-bf16").windows, list{0, 0, 40});
  CHECK_EQ(windows("qwen2-bf16", "\"use_sliding_window\": true", "\"use_sliding_window\": false"), list{});
  CHECK_EQ(windows("qwen2-bf16", "\"sliding_window\": 40",
                   R"("sliding_window": 40, "layer_types": ["sliding_attention", "full_attention", "full_attention"])"),
           list{40, 0, 0});
  auto wrong = changed("qwen2-bf16", "config.json", "\"sliding_window\": 40",
                       R"("sliding_window": 40, "layer_types": ["sliding_attention"])");
  check_contains(refused(errc::invalid_argument, [&] { load_config(wrong); }), "\"layer_types\"");
  auto config = load_config(data_models() / "mistral-f32");
  CHECK_EQ(config.attends_from(1, 23), 0);
  CHECK_EQ(config.attends_from(1, 24), 1);
}

TEST_CASE("model: a tensor of another shape or type, and one that is missing, are refused by name") {
  auto error = [](errc code, std::string_view from, std::string_view to) {
    auto dir = changed("gqa-f32", "config.json", from, to);
    return refused(code, [&] { model::load(dir); });
  };
  check_contains(error(errc::invalid_argument, "\"intermediate_size\": 53", "\"intermediate_size\": 54"),
                 "\"model.layers.0.mlp.gate_proj.weight\" has shape [53, 36]; the configuration asks for [54, 36]");
  check_contains(error(errc::invalid_argument, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
                 "\"model.layers.2.input_layernorm.weight\" is missing");
  check_contains(error(errc::invalid_argument, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"),
                 "\"lm_head.weight\" is missing");
}

TEST_CASE("model: files with random damage load or are refused, and never do harm") {
  auto random = std::mt19937_64{2024};
  auto loaded = 0;
  auto refusals = 0;
  for (auto* name : {"gqa-f32", "f16-bytelevel", "sharded-f32"})
    for (auto* file : {"config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"}) {
      if (!fs::exists(data_models() / name / file))
        continue;
      auto dir = copy_of(name);
      auto original = read(dir / file);
      for (auto round = uint64_t{0}; round < testing::seeds(150); ++round) {
        auto bytes = original;
        // Headers are where damage matters: the front of the file more often than the rest.
        for (auto i = random() % 4 + 1; i > 0; --i) {
          auto at = random() % (random() % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 2000));
          auto kind = random() % 4;
          if (kind == 0)
            bytes[at] = static_cast<char>(random());
          else if (kind == 1)
            bytes.erase(at, random() % 20);
          else if (kind == 2)
            bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20));
          else
            bytes[at] = "0123456789-.{}[]\",:"[random() % 19];
        }
        if (random() % 10 == 0)
          bytes.resize(random() % bytes.size());
        write(dir / file, bytes);
        try {
          auto weights = model::load(dir);
          auto ids = weights->tokens().encode("Once upon <s> a time, \xf0\x9f\x98\x80 don't 12345");
          weights->tokens().decode(ids, false);
          ++loaded;
        } catch (const failure& error) {
          CHECK_FALSE(std::string_view{error.what()}.empty());
          ++refusals;
        }
      }
    }
  CHECK_GT(loaded, 0);
  CHECK_GT(refusals, 0);
}

TEST_CASE("fingerprint: changes with any weight, the config, the KV type and the block size, and is remembered") {
  auto cache = testing::scratch_dir();
  auto* before = std::getenv("XDG_CACHE_HOME");
  auto kept = std::string{before == nullptr ? "" : before};
  ::setenv("XDG_CACHE_HOME", cache.c_str(), 1);
  auto dir = copy_of("gqa-f32");
  auto first = model::load(dir)->fingerprint(16);
  CHECK_EQ(first.size(), 64);
  CHECK_EQ(model::load(dir)->fingerprint(16), first);
  CHECK_EQ(model::load(copy_of("gqa-f32"))->fingerprint(16), first); // the place does not matter
  CHECK(model::load(dir)->fingerprint(32) != first);
  CHECK(model::load(changed("gqa-f32", "config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0"))
          ->fingerprint(16)
        != first);
  // The remembered digest is used: a false one comes through.
  auto file = cache / "perigee" / "fingerprints";
  auto lines = read(file);
  CHECK_EQ(lines.size() % 130, 0);
  auto forged = lines;
  for (auto at = size_t{65}; at < forged.size(); at += 130)
    forged[at] = forged[at] == '0' ? '1' : '0';
  write(file, forged);
  CHECK(model::load(dir)->fingerprint(16) != first);
  write(file, "not a line of ours\n");
  CHECK_EQ(model::load(dir)->fingerprint(16), first);
  // A changed weight is noticed, because size or time changed; and so it is without any cache.
  auto bytes = read(dir / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write(dir / "model.safetensors", bytes);
  fs::last_write_time(dir / "model.safetensors", fs::file_time_type::clock::now() + std::chrono::seconds{5});
  auto second = model::load(dir)->fingerprint(16);
  CHECK(second != first);
  ::setenv("XDG_CACHE_HOME", (dir / "config.json").c_str(), 1); // a file: nothing can be written below it
  CHECK_EQ(model::load(dir)->fingerprint(16), second);
  if (before == nullptr)
    ::unsetenv("XDG_CACHE_HOME");
  else
    ::setenv("XDG_CACHE_HOME", kept.c_str(), 1);
}
