// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/gguf_model.hpp"
#include "tests/kernels/gguf_writer.hpp"
#include "tests/kernels/support.hpp"

#include <fmt/format.h>

#include <cstring>
#include <fstream>

using namespace perigee;
using namespace perigee::kernels;
using namespace perigee::kernels::test;

namespace fs = std::filesystem;
using element = gguf_writer::element;

namespace {

constexpr auto all_models = {"gqa-f32",     "sharded-f32", "f16-bytelevel", "bf16-llama3",
                             "mistral-f32", "qwen2-bf16",  "qwen3-f32"};

fs::path written(const gguf_writer& file) {
  auto path = testing::scratch_dir() / "model.gguf";
  file.write(path);
  return path;
}

std::string refused(const std::string& bytes, errc code = errc::invalid_argument) {
  auto path = testing::scratch_dir() / "model.gguf";
  std::ofstream{path, std::ios::binary} << bytes;
  try {
    gguf_file{path};
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

element own_type(const model& weights) {
  auto type = weights.weights().type;
  return type == dtype::f32 ? element::f32 : type == dtype::f16 ? element::f16 : element::bf16;
}

std::vector<token_id> some_tokens(const model& weights) {
  auto random = std::mt19937_64{5};
  auto tokens = std::vector<token_id>(90);
  for (auto& token : tokens)
    token = static_cast<token_id>(random() % weights.config().vocab);
  return tokens;
}

/// SentencePiece's rule, spelled out: as long as two neighbours make a piece, those whose piece scores best are joined,
/// the leftmost of equals.
std::vector<std::string> joined_by_score(const std::string& text, const std::map<std::string, double>& scores) {
  auto parts = std::vector<std::string>{};
  for (auto at = size_t{0}; at < text.size();) {
    auto size = size_t{1};
    while (at + size < text.size() && (static_cast<uint8_t>(text[at + size]) & 0xc0) == 0x80)
      ++size;
    parts.push_back(text.substr(at, size));
    at += size;
  }
  for (;;) {
    auto best = scores.end();
    auto where = size_t{0};
    for (auto i = size_t{0}; i + 1 < parts.size(); ++i)
      if (auto found = scores.find(parts[i] + parts[i + 1]);
          found != scores.end() && (best == scores.end() || found->second > best->second)) {
        best = found;
        where = i;
      }
    if (best == scores.end())
      return parts;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(where) + 1);
  }
}

} // namespace

TEST_CASE("gguf: a model gives the logits that its directory gives, in every family and type") {
  for (auto* name : all_models) {
    CAPTURE(name);
    auto from = model::load(data_models() / name);
    auto read = model::load(written(gguf_of(*from, own_type(*from))));
    CHECK_EQ(read->weights().type, from->weights().type);
    CHECK_EQ(read->config().windows, from->config().windows);
    CHECK_EQ(read->config().eos, from->config().eos);
    auto tokens = some_tokens(*from);
    auto expected = sequence_engine{from, {2, false, false}, 90}.run(tokens, 0);
    auto found = sequence_engine{read, {2, false, false}, 90}.run(tokens, 0);
    if (read->config().rope.scaling.pair_factors.empty())
      CHECK(std::memcmp(expected.data(), found.data(), expected.size() * 4) == 0);
    else // the divisors are rounded to f32 in the file
      CHECK_LE(largest_difference(expected, found), from->weights().type == dtype::f32 ? 1e-3f : 5e-2f);
  }
}

TEST_CASE("gguf: a Q8_0 file is computed as int8, with the logits of the same weights rounded at load") {
  for (auto* name : {"qwen2-bf16"}) { // whose extents are multiples of 32
    auto from = model::load(data_models() / name, {true});
    auto read = model::load(written(gguf_of(*from, element::q8_0)));
    CHECK(read->int8());
    CHECK_EQ(read->kv_type(), dtype::bf16);
    auto tokens = some_tokens(*from);
    auto expected = sequence_engine{from, {2, false, false}, 90}.run(tokens, 0);
    auto found = sequence_engine{read, {2, false, false}, 90}.run(tokens, 0);
    CHECK_LE(largest_difference(expected, found), 0.2f); // the embedding is rounded too
  }
}

TEST_CASE("gguf: byte-level vocabularies give the ids of the directory's tokenizer") {
  for (auto* name : {"f16-bytelevel", "qwen3-f32"}) {
    auto from = model::load(data_models() / name);
    auto read = model::load(written(gguf_of(*from, own_type(*from))));
    auto answers = read_json_object(data_models() / name / "golden.json", 64 << 20);
    for (const auto& entry : answers.at("tokenizer").as_array()) {
      auto ids = numbers<token_id>(entry.at("ids"));
      CHECK_EQ(read->tokens().decode(ids), std::string{entry.at("decoded").as_string()});
      if (!entry.at("text").is_null())
        CHECK_EQ(read->tokens().encode(std::string{entry.at("text").as_string()}), ids);
    }
  }
}

TEST_CASE("gguf: SentencePiece vocabularies join the neighbours whose piece scores best, leftmost first") {
  auto out = gguf_writer{};
  auto pieces = std::vector<std::string>{"<unk>", "<s>", "</s>"};
  auto kinds = std::vector<int32_t>{2, 3, 3};
  for (auto byte = 0; byte < 256; ++byte) {
    pieces.push_back(fmt::format("<0x{:02X}>", byte));
    kinds.push_back(6);
  }
  auto scores = std::vector<float>(pieces.size(), 0);
  auto table = std::map<std::string, double>{};
  auto random = std::mt19937_64{11};
  for (auto* piece :
       {"\u2581", "a", "b", "c", "ab", "bc", "abc", "\u2581a", "\u2581ab", "ca", "cab", "aa", "aaa", "bca"}) {
    pieces.push_back(piece);
    kinds.push_back(1);
    scores.push_back(-static_cast<float>(random() % 5)); // some are equal
    table[piece] = scores.back();
  }
  out.add("tokenizer.ggml.model", "llama");
  out.add("tokenizer.ggml.tokens", pieces);
  out.add("tokenizer.ggml.token_type", kinds);
  out.add("tokenizer.ggml.scores", scores);
  out.add("tokenizer.ggml.bos_token_id", uint32_t{1});
  out.add("tokenizer.ggml.unknown_token_id", uint32_t{0});
  auto tokens = gguf_tokenizer(gguf_file{written(out)});
  for (auto round = 0; round < 300; ++round) {
    auto text = std::string{};
    for (auto i = random() % 12 + 1; i > 0; --i)
      text += "abc "[random() % 4];
    auto marked = std::string{"\u2581"};
    for (auto c : text)
      c == ' ' ? marked += "\u2581" : marked += c;
    auto expected = std::vector<token_id>{1};
    for (const auto& piece : joined_by_score(marked, table))
      expected.push_back(*tokens.find(piece));
    CAPTURE(text);
    REQUIRE_EQ(tokens.encode(text), expected);
    REQUIRE_EQ(tokens.decode(expected), text);
  }
  CHECK_EQ(tokens.encode("\u00e9"), std::vector<token_id>{1, *tokens.find("\u2581"), 3 + 0xc3, 3 + 0xa9});
  CHECK_EQ(tokens.encode("</s>", {false, true}), std::vector<token_id>{2});
}

TEST_CASE("gguf: malformed files are refused with the tensor or key named") {
  auto good = [] {
    auto out = gguf_writer{};
    out.add("some.key", uint32_t{7});
    out.add({"a", {4, 2}, element::f32, std::string(32, '\1')});
    out.add({"b", {8}, element::f16, std::string(16, '\1')});
    return out;
  };
  auto bytes = good().bytes();
  CHECK_EQ(gguf_file{written(good())}.tensors().at("a").shape, std::vector<uint64_t>{2, 4});
  check_contains(refused("GGU"), "does not begin with");
  check_contains(refused("nothing like it"), "does not begin with");
  auto version = bytes;
  version[4] = 9;
  check_contains(refused(version, errc::unsupported), "GGUF version 9");
  auto many = bytes;
  many[15] = '\x7f';
  check_contains(refused(many), "tensors and 1 metadata; allowed");
  check_contains(refused(bytes.substr(0, 30)), "is truncated in metadata number 0");
  check_contains(refused(bytes.substr(0, bytes.size() - 32)), "tensor \"b\" has 16 bytes at 32; the file has");
  auto file = good();
  file.tensors()[1].shift = -32;
  check_contains(refused(file.bytes()), "tensor \"b\" at 0 overlaps");
  file = good();
  file.tensors()[1].shift = 8;
  check_contains(refused(file.bytes()), "tensor \"b\" begins at 40; allowed: a multiple of 32");
  file = good();
  file.tensors()[1].shift = int64_t{1} << 40;
  check_contains(refused(file.bytes()), "tensor \"b\" has 16 bytes at");
  file = good();
  file.tensors()[0].extents = {uint64_t{1} << 40, uint64_t{1} << 40};
  check_contains(refused(file.bytes()), "tensor \"a\" has more elements than 64 bits count");
  file = good();
  file.tensors()[0].extents = {1, 1, 1, 1, 1};
  check_contains(refused(file.bytes()), "tensor \"a\" has 5 dimensions");
  file = good();
  file.tensors()[0].type = element::q8_0;
  check_contains(refused(file.bytes()), "tensor \"a\" has rows of 4 elements; Q8_0 needs a multiple of 32");
  file = good();
  file.tensors()[0].type = static_cast<element>(99);
  check_contains(refused(file.bytes(), errc::unsupported), "tensor \"a\" has element type 99");
  file = good();
  file.tensors()[0].name = "b";
  check_contains(refused(file.bytes()), "tensor \"b\" is there twice");
  file = good();
  file.add("some.key", true);
  check_contains(refused(file.bytes()), "key \"some.key\" is there twice");
  file = good();
  file.add("general.alignment", uint32_t{48});
  check_contains(refused(file.bytes()), "key \"general.alignment\" is 48; allowed: a power of two");
}

TEST_CASE("gguf: what a model needs and does not find, or finds otherwise, is refused by key or tensor") {
  auto from = model::load(data_models() / "gqa-f32");
  auto error = [](const gguf_writer& file, errc code = errc::invalid_argument) {
    try {
      model::load(written(file));
    } catch (const failure& wrong) {
      CHECK_EQ(wrong.code(), code);
      return std::string{wrong.what()};
    }
    return std::string{"nothing was refused"};
  };
  check_contains(error(gguf_writer{}), "key \"tokenizer.ggml.tokens\" is missing");
  auto other = gguf_writer{};
  other.add("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  other.add("general.architecture", "gptneox");
  check_contains(error(other, errc::unsupported), "key \"general.architecture\" is \"gptneox\"");
  auto file = gguf_of(*from, element::f32);
  file.add("llama.expert_count", uint32_t{4});
  check_contains(error(file, errc::unsupported), "\"llama.expert_count\"");
  file = gguf_of(*from, element::f32);
  std::erase_if(file.tensors(), [](const auto& t) { return t.name == "blk.1.ffn_up.weight"; });
  check_contains(error(file), "tensor \"model.layers.1.mlp.up_proj.weight\" is missing");
  file = gguf_of(*from, element::f32);
  std::swap(file.tensors()[0].extents[0], file.tensors()[0].extents[1]);
  check_contains(error(file), "tensor \"model.embed_tokens.weight\" has shape");
  file = gguf_of(*from, element::f32);
  file.add("split.count", uint32_t{2});
  check_contains(error(file, errc::unsupported), "\"split.count\"");
}

TEST_CASE("gguf: no truncated or damaged header does harm") {
  auto bytes = gguf_of(*model::load(data_models() / "gqa-f32"), element::f32).bytes();
  auto dir = testing::scratch_dir();
  auto path = dir / "model.gguf";
  auto random = std::mt19937_64{3};
  auto refusals = 0;
  for (auto round = uint64_t{0}; round < testing::seeds(400); ++round) {
    auto damaged = bytes;
    if (round % 2 == 0)
      damaged.resize(random() % 24'000);
    else
      for (auto i = 0; i < 3; ++i)
        damaged[random() % 24'000] = static_cast<char>(random());
    std::ofstream{path, std::ios::binary | std::ios::trunc} << damaged;
    try {
      model::load(path);
    } catch (const failure&) {
      ++refusals;
    }
  }
  CHECK_GE(refusals, static_cast<int>(testing::seeds(400) / 2));
}
