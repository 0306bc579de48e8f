// SPDX-License-Identifier: Apache-2.0
// A GGUF file's vocabulary as the parts of a tokenizer.json.
#include "kernels/model/gguf_model.hpp"
#include "transport/base/status.hpp"

#include <boost/json.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto space_mark = "\u2581";

/// Kinds of tokens, by their number in the file.
enum class token_kind : uint64_t { normal = 1, unknown = 2, control = 3, user = 4, unused = 5, byte = 6 };

/// How words are split, by the file's name for it.
struct word_split {
  std::string_view name;
  std::string_view expression; ///< empty: the one of GPT-2
  bool whole_words = false;    ///< a word that is in the vocabulary is not merged anew
  bool begins = false;         ///< texts begin with the begin token where the file does not say
  bool composed = false;       ///< texts are brought into normal form C first
};
constexpr auto llama3_expression =
  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
  R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr auto qwen2_expression =
  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
  R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr word_split splits[] = {{"gpt-2", ""},
                                 {"llama-bpe", llama3_expression, true, true},
                                 {"llama3", llama3_expression, true, true},
                                 {"llama-v3", llama3_expression, true, true},
                                 {"qwen2", qwen2_expression, false, false, true}};

class reader {
public:
  explicit reader(const gguf_file& file) : file_(file), where_(file.path().string()) {}

  tokenizer read() {
    read_tokens();
    const auto& model = file_.require_string("tokenizer.ggml.model");
    if (model == "llama")
      return sentencepiece();
    if (model == "gpt2")
      return byte_level();
    throw failure(errc::unsupported, fmt::format("{}: key \"tokenizer.ggml.model\" is \"{}\"; this engine supports "
                                                 "\"llama\" and \"gpt2\"",
                                                 where_, model));
  }

private:
  token_kind kind(size_t id) const {
    return kinds_.empty() ? token_kind::normal : kinds_[id];
  }

  void read_tokens() {
    for (const auto& item : file_.require_array("tokenizer.ggml.tokens")) {
      auto* text = std::get_if<std::string>(&item.value);
      if (text == nullptr)
        file_.refuse("tokenizer.ggml.tokens", "texts");
      parts_.pieces.push_back(*text);
    }
    if (auto* kinds = file_.find_array("tokenizer.ggml.token_type")) {
      if (kinds->size() != parts_.pieces.size())
        file_.refuse("tokenizer.ggml.token_type", fmt::format("{} numbers, one a token", parts_.pieces.size()));
      for (const auto& item : *kinds) {
        auto* number = std::get_if<int64_t>(&item.value);
        auto* plain = std::get_if<uint64_t>(&item.value);
        auto value = number != nullptr ? *number : plain != nullptr ? static_cast<int64_t>(*plain) : 0;
        if (value < 1 || value > 6)
          file_.refuse("tokenizer.ggml.token_type", "numbers from 1 to 6");
        kinds_.push_back(static_cast<token_kind>(value));
      }
    }
    for (auto id = size_t{0}; id < parts_.pieces.size(); ++id) {
      auto of = kind(id);
      if (of != token_kind::unknown && of != token_kind::control && of != token_kind::user)
        continue;
      added_.push_back({{"id", id},
                        {"content", parts_.pieces[id]},
                        {"single_word", false},
                        {"lstrip", false},
                        {"rstrip", false},
                        {"normalized", false},
                        {"special", of != token_kind::user}});
    }
  }

  std::optional<token_id> token(const char* name) const {
    auto id = file_.find_uint(fmt::format("tokenizer.ggml.{}_token_id", name), 0, parts_.pieces.size() - 1);
    return id ? std::optional{static_cast<token_id>(*id)} : std::nullopt;
  }

  /// Puts the begin and end tokens around a text, where the file asks for them.
  json::value post_processor(bool begins) const {
    auto single = json::array{};
    auto specials = json::object{};
    auto add = [&](const char* flag, const char* name, bool otherwise) {
      if (!file_.find_bool(fmt::format("tokenizer.ggml.{}", flag)).value_or(otherwise))
        return;
      auto id = token(name);
      if (!id)
        file_.refuse(fmt::format("tokenizer.ggml.{}_token_id", name), "a token, where texts are to have it");
      const auto& spelled = parts_.pieces[static_cast<size_t>(*id)];
      single.push_back(json::object{{"SpecialToken", {{"id", spelled}, {"type_id", 0}}}});
      specials[spelled] = {{"id", spelled}, {"ids", json::array{*id}}, {"tokens", json::array{json::value(spelled)}}};
    };
    add("add_bos_token", "bos", begins);
    single.push_back(json::object{{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    add("add_eos_token", "eos", false);
    return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", specials}};
  }

  tokenizer finish(json::object steps, bool begins) {
    steps["added_tokens"] = added_;
    steps["post_processor"] = post_processor(begins);
    return {bpe{std::move(parts_), where_ + ": tokenizer.ggml.tokens"}, steps, where_};
  }

  /// SentencePiece joins the neighbours whose joint piece has the best score: merges ranked by the score of what they
  /// make, equal where it is equal.
  void read_scores() {
    const auto& scores = file_.require_array("tokenizer.ggml.scores");
    if (scores.size() != parts_.pieces.size())
      file_.refuse("tokenizer.ggml.scores", fmt::format("{} numbers, one a token", parts_.pieces.size()));
    auto ids = std::unordered_map<std::string_view, token_id>{};
    auto ranks = std::map<double, uint32_t, std::greater<>>{};
    auto score = [&](size_t id) {
      auto* number = std::get_if<double>(&scores[id].value);
      if (number == nullptr || *number != *number)
        file_.refuse("tokenizer.ggml.scores", "numbers");
      return *number;
    };
    for (auto id = size_t{0}; id < parts_.pieces.size(); ++id) {
      ids.emplace(parts_.pieces[id], static_cast<token_id>(id));
      ranks.emplace(score(id), 0);
    }
    auto next = uint32_t{0};
    for (auto& [value, rank] : ranks)
      rank = next++;
    for (auto id = size_t{0}; id < parts_.pieces.size(); ++id) {
      if (kind(id) != token_kind::normal)
        continue;
      auto piece = std::string_view{parts_.pieces[id]};
      for (auto at = size_t{1}; at < piece.size(); ++at) {
        auto left = ids.find(piece.substr(0, at));
        auto right = ids.find(piece.substr(at));
        if (left != ids.end() && right != ids.end())
          parts_.merges.push_back({left->second, right->second, static_cast<token_id>(id), ranks[score(id)]});
      }
    }
  }

  tokenizer sentencepiece() {
    read_scores();
    parts_.unknown = token("unknown");
    parts_.byte_fallback = true;
    parts_.fuse_unknown = true;
    auto prefix = file_.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
    auto normalizers = json::array{};
    auto decoders = json::array{{{"type", "Replace"}, {"pattern", {{"String", space_mark}}}, {"content", " "}},
                                {{"type", "ByteFallback"}},
                                {{"type", "Fuse"}}};
    if (prefix) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", space_mark}});
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space_mark}});
    return finish({{"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
                   {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}}},
                  true);
  }

  void read_merges() {
    auto ids = std::unordered_map<std::string_view, token_id>{};
    for (auto id = size_t{0}; id < parts_.pieces.size(); ++id)
      ids.emplace(parts_.pieces[id], static_cast<token_id>(id));
    auto rank = uint32_t{0};
    for (const auto& item : file_.require_array("tokenizer.ggml.merges")) {
      auto* text = std::get_if<std::string>(&item.value);
      auto gap = text == nullptr ? std::string::npos : text->find(' ', 1);
      auto found = [&](std::string_view piece) {
        auto id = ids.find(piece);
        if (id == ids.end())
          throw failure(
            errc::invalid_argument,
            fmt::format("{}: key \"tokenizer.ggml.merges\": number {} is \"{}\"; allowed: two pieces of the "
                        "vocabulary that make a third",
                        where_, rank, text == nullptr ? "no text" : *text));
        return id->second;
      };
      if (gap == std::string::npos)
        found({});
      auto whole = std::string_view{*text};
      auto left = whole.substr(0, gap);
      auto right = whole.substr(gap + 1);
      parts_.merges.push_back({found(left), found(right), found(std::string{left} + std::string{right}), rank++});
    }
  }

  tokenizer byte_level() {
    auto* name = file_.find_string("tokenizer.ggml.pre");
    auto split = std::ranges::find(splits, name == nullptr || *name == "default" ? "gpt-2" : std::string_view{*name},
                                   &word_split::name);
    if (split == std::end(splits))
      throw failure(errc::unsupported, fmt::format("{}: key \"tokenizer.ggml.pre\" is \"{}\"; this engine supports "
                                                   "\"gpt-2\", \"llama-bpe\" and \"qwen2\"",
                                                   where_, *name));
    read_merges();
    parts_.ignore_merges = split->whole_words;
    auto steps = json::array{};
    if (!split->expression.empty())
      steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", split->expression}}}, {"behavior", "Isolated"}, {"invert", false}});
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", split->expression.empty()}});
    auto normalizer = json::value{};
    if (split->composed)
      normalizer = json::object{{"type", "NFC"}};
    return finish({{"normalizer", std::move(normalizer)},
                   {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
                   {"decoder", {{"type", "ByteLevel"}}}},
                  split->begins);
  }

  const gguf_file& file_;
  std::string where_;
  bpe_parts parts_;
  std::vector<token_kind> kinds_;
  json::array added_;
};

} // namespace

tokenizer gguf_tokenizer(const gguf_file& file) {
  return reader{file}.read();
}

std::string gguf_tokenizer_config(const gguf_file& file) {
  auto result = json::object{};
  const auto& tokens = file.require_array("tokenizer.ggml.tokens");
  for (auto* name : {"bos", "eos"})
    if (auto id = file.find_uint(fmt::format("tokenizer.ggml.{}_token_id", name), 0, tokens.size() - 1))
      if (auto* text = std::get_if<std::string>(&tokens[*id].value))
        result[fmt::format("{}_token", name)] = *text;
  if (auto* text = file.find_string("tokenizer.chat_template"))
    result["chat_template"] = *text;
  return json::serialize(result);
}

} // namespace perigee::kernels
