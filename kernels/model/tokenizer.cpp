// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/tokenizer.hpp"

#include "kernels/model/json_reader.hpp"
#include "kernels/model/regex.hpp"
#include "kernels/model/utf8.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto file_bytes_max = uint64_t{256} << 20;
constexpr auto id_max = uint64_t{1} << 22;

const json::value& value_of(const json::object& object, std::string_view key) {
  static const auto null = json::value{};
  auto* found = object.if_contains({key.data(), key.size()});
  return found == nullptr ? null : *found;
}

bool matches_character(const regex& expression, std::string_view character) {
  return !character.empty() && !expression.matches(character).empty();
}

/// The whole character that ends before `at`.
std::string_view character_before(std::string_view text, size_t at) {
  auto begin = at;
  while (begin > 0 && (static_cast<uint8_t>(text[--begin]) & 0xc0) == 0x80) {
  }
  return text.substr(begin, at - begin);
}

std::string_view character_after(std::string_view text, size_t at) {
  return at >= text.size() ? std::string_view{} : text.substr(at, utf8::front(text.substr(at)).bytes);
}

const regex& space() {
  static const auto expression = regex{"\\s"};
  return expression;
}

const regex& word() {
  static const auto expression = regex{"\\w"};
  return expression;
}

} // namespace

tokenizer::tokenizer(const std::filesystem::path& path)
  : tokenizer(read_json_object(path, file_bytes_max), path.string()) {}

tokenizer::tokenizer(const json::object& file, const std::string& where)
  : tokenizer(bpe{json_reader{file, where}.require_object("model"), where + ": model"}, file, where) {}

tokenizer::tokenizer(bpe vocabulary, const json::object& file, const std::string& where)
  : bpe_(std::move(vocabulary)), normalizers_(read_normalizers(value_of(file, "normalizer"), where + ": normalizer")),
    pre_tokenizers_(read_pre_tokenizers(value_of(file, "pre_tokenizer"), where + ": pre_tokenizer")),
    decoder_(value_of(file, "decoder"), where + ": decoder"), names_(bpe_.pieces()) {
  special_.resize(names_.size());
  read_added(file, where);
  read_post_processor(value_of(file, "post_processor"), where + ": post_processor");
}

void tokenizer::read_added(const json::object& file, const std::string& where) {
  auto* list = json_reader{file, where}.find_array("added_tokens");
  if (list == nullptr)
    return;
  for (const auto& item : *list) {
    auto here = fmt::format("{}: added_tokens: number {}", where, added_.size());
    auto* object = item.if_object();
    if (object == nullptr)
      throw failure(errc::invalid_argument, fmt::format("{}: must be an object, found {}", here, brief(item)));
    auto reader = json_reader{*object, here};
    auto flag = [&](std::string_view key) { return reader.find_bool(key).value_or(false); };
    auto token = added_token{};
    token.id = static_cast<token_id>(reader.require_uint("id", 0, id_max - 1));
    auto spelled = std::string{reader.require_string("content")};
    if (spelled.empty())
      reader.refuse("content", "a text that is not empty");
    token.special = flag("special");
    token.normalized = flag("normalized");
    token.single_word = flag("single_word");
    token.strip_left = flag("lstrip");
    token.strip_right = flag("rstrip");
    token.content = token.normalized ? normalize(normalizers_, spelled) : spelled;
    auto at = static_cast<size_t>(token.id);
    if (at >= names_.size()) {
      names_.resize(at + 1);
      special_.resize(at + 1);
    }
    if (!added_ids_.emplace(spelled, token.id).second || (!names_[at].empty() && names_[at] != spelled))
      throw failure(errc::invalid_argument,
                    fmt::format("{}: \"{}\" with id {} contradicts \"{}\" with the same id or content", here, spelled,
                                token.id, names_[at]));
    names_[at] = spelled;
    special_[at] = token.special;
    if (!token.content.empty())
      added_.push_back(std::move(token));
  }
  std::ranges::stable_sort(added_, std::greater<>{}, [](const added_token& t) { return t.content.size(); });
  for (auto i = uint32_t{0}; i < added_.size(); ++i)
    added_by_byte_[static_cast<uint8_t>(added_[i].content[0])].push_back(i);
}

void tokenizer::read_post_processor(const json::value& value, const std::string& where) {
  if (value.is_null())
    return;
  auto* object = value.if_object();
  if (object == nullptr)
    throw failure(errc::invalid_argument, fmt::format("{}: must be an object or null, found {}", where, brief(value)));
  auto reader = json_reader{*object, where};
  auto type = std::string_view{reader.require_string("type")};
  if (type == "Sequence") {
    for (const auto& inner : reader.require_array("processors"))
      read_post_processor(inner, where);
    return;
  }
  if (type == "ByteLevel") // only moves offsets, which nobody here asks for
    return;
  if (type != "TemplateProcessing")
    throw failure(errc::unsupported, fmt::format("{}: type \"{}\" is not supported; supported: Sequence, ByteLevel, "
                                                 "TemplateProcessing",
                                                 where, type));
  auto* into = &before_;
  for (const auto& item : reader.require_array("single")) {
    auto* part = item.if_object();
    if (part == nullptr)
      throw failure(errc::invalid_argument, fmt::format("{}: single: must hold objects, found {}", where, brief(item)));
    auto inner = json_reader{*part, where + ": single"};
    if (inner.find_object("Sequence") != nullptr) {
      into = &after_;
      continue;
    }
    auto name = std::string{json_reader{inner.require_object("SpecialToken"), where + ": single"}.require_string("id")};
    auto all = json_reader{reader.require_object("special_tokens"), where + ": special_tokens"};
    auto token = json_reader{all.require_object(name), where + ": special_tokens: " + name};
    for (const auto& id : token.require_array("ids")) {
      auto error = json::error_code{};
      auto number = id.to_number<uint32_t>(error);
      if (error || number >= names_.size() || names_[number].empty())
        token.refuse("ids", "ids of the vocabulary");
      into->push_back(static_cast<token_id>(number));
    }
  }
}

const tokenizer::added_token* tokenizer::match(std::string_view text, size_t at, bool normalized) const {
  for (auto index : added_by_byte_[static_cast<uint8_t>(text[at])]) {
    const auto& token = added_[index];
    if (token.normalized != normalized || !text.substr(at).starts_with(token.content))
      continue;
    if (token.single_word
        && (matches_character(word(), character_before(text, at))
            || matches_character(word(), character_after(text, at + token.content.size()))))
      continue;
    return &token;
  }
  return nullptr;
}

std::vector<tokenizer::part> tokenizer::cut(std::string_view text, bool normalized) const {
  auto parts = std::vector<part>{};
  auto begin = size_t{0};
  for (auto at = size_t{0}; at < text.size();) {
    auto* token = match(text, at, normalized);
    if (token == nullptr) {
      ++at;
      continue;
    }
    auto end = at + token->content.size();
    if (token->strip_left)
      while (at > begin && matches_character(space(), character_before(text, at)))
        at -= character_before(text, at).size();
    if (token->strip_right)
      while (matches_character(space(), character_after(text, end)))
        end += character_after(text, end).size();
    if (at > begin)
      parts.push_back({text.substr(begin, at - begin), -1});
    parts.push_back({text.substr(at, end - at), token->id});
    at = begin = end;
  }
  if (begin < text.size())
    parts.push_back({text.substr(begin), -1});
  return parts;
}

std::vector<token_id> tokenizer::encode(std::string_view text, encode_options options) const {
  if (!utf8::valid(text))
    throw failure(errc::invalid_argument, "the text is not valid UTF-8");
  auto ids = options.template_tokens ? before_ : std::vector<token_id>{};
  auto encode_words = [&](std::string normal, bool first) {
    for (const auto& word : pre_tokenize(pre_tokenizers_, std::move(normal), first))
      bpe_.encode(word, ids);
  };
  auto parts = options.added_tokens ? cut(text, false) : std::vector<part>{{text, -1}};
  for (const auto& outer : parts) {
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    if (outer.text.empty())
      continue;
    auto first = outer.text.data() == text.data();
    auto normal = normalize(normalizers_, std::string{outer.text});
    if (!options.added_tokens) {
      encode_words(std::move(normal), first);
      continue;
    }
    for (const auto& inner : cut(normal, true))
      if (inner.id >= 0)
        ids.push_back(inner.id);
      else
        encode_words(std::string{inner.text}, first && inner.text.data() == normal.data());
  }
  if (options.template_tokens)
    ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

bool tokenizer::skipped(token_id id, bool skip_special) const noexcept {
  return piece(id).empty() || (skip_special && is_special(id));
}

std::string tokenizer::decode(std::span<const token_id> ids, bool skip_special) const {
  auto text = std::string{};
  auto run = std::string{}; // bytes of neighbouring pieces that may make up characters together
  auto end_run = [&] {
    if (!decoder_.replaces_each_byte() || utf8::valid(run))
      text += utf8::lossy(run);
    else
      for (auto i = size_t{0}; i < run.size(); ++i)
        text += utf8::replacement;
    run.clear();
  };
  auto first = true;
  for (auto id : ids) {
    if (skipped(id, skip_special))
      continue;
    auto next = decoder_.decode(names_[static_cast<size_t>(id)], first);
    first = false;
    if (next.whole)
      end_run();
    (next.whole ? text : run) += next.bytes;
  }
  end_run();
  auto at = size_t{0};
  for (auto i = uint32_t{0};
       i < decoder_.strip_count() && text.compare(at, decoder_.strip_text().size(), decoder_.strip_text()) == 0; ++i)
    at += decoder_.strip_text().size();
  return text.substr(at);
}

std::optional<token_id> tokenizer::find(std::string_view text) const {
  if (auto found = added_ids_.find(text); found != added_ids_.end())
    return found->second;
  return bpe_.find(text);
}

std::string_view tokenizer::piece(token_id id) const noexcept {
  return id >= 0 && static_cast<size_t>(id) < names_.size() ? std::string_view{names_[static_cast<size_t>(id)]}
                                                            : std::string_view{};
}

bool tokenizer::is_special(token_id id) const noexcept {
  return id >= 0 && static_cast<size_t>(id) < special_.size() && special_[static_cast<size_t>(id)];
}

} // namespace perigee::kernels
