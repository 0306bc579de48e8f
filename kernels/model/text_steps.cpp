// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/text_steps.hpp"

#include "kernels/model/byte_alphabet.hpp"
#include "kernels/model/json_reader.hpp"
#include "kernels/model/regex.hpp"
#include "kernels/model/utf8.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <new>
#include <optional>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

using spans = std::vector<std::pair<size_t, size_t>>;

/// A `pattern` of the format: {"String": text} or {"Regex": expression}.
class pattern {
public:
  explicit pattern(const json_reader& step) {
    const auto& object = step.require_object("pattern");
    auto reader = json_reader{object, step.where() + ": pattern"};
    if (auto* text = reader.find_string("String")) {
      text_ = *text;
      if (text_.empty())
        reader.refuse("String", "a text that is not empty");
    } else {
      auto source = std::string{reader.require_string("Regex")};
      try {
        expression_.emplace(source);
      } catch (const failure& error) {
        throw failure(error.code(), fmt::format("{}: {}", reader.where(), error.what()));
      }
    }
  }

  spans matches(std::string_view text) const {
    if (expression_)
      return expression_->matches(text);
    auto result = spans{};
    for (auto at = text.find(text_); at != std::string_view::npos; at = text.find(text_, at + text_.size()))
      result.emplace_back(at, at + text_.size());
    return result;
  }

private:
  std::string text_;
  std::optional<regex> expression_;
};

class prepend final : public normalizer {
public:
  explicit prepend(const json_reader& step) : text_(step.require_string("prepend")) {}
  std::string apply(std::string text) const override {
    return text.empty() ? text : text_ + text;
  }

private:
  std::string text_;
};

class replace final : public normalizer {
public:
  explicit replace(const json_reader& step) : pattern_(step), content_(step.require_string("content")) {}
  std::string apply(std::string text) const override {
    auto out = std::string{};
    auto at = size_t{0};
    for (auto [begin, end] : pattern_.matches(text)) {
      out.append(text, at, begin - at);
      out += content_;
      at = end;
    }
    out.append(text, at);
    return out;
  }

private:
  pattern pattern_;
  std::string content_;
};

/// Unicode normal forms. Text that is not UTF-8 stays as it is.
class normal_form final : public normalizer {
public:
  /// NFC, NFD, NFKC or NFKD; null for another name.
  static std::unique_ptr<normalizer> find(std::string_view name) {
    constexpr auto composed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    constexpr auto decomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (name == "NFC")
      return std::make_unique<normal_form>(composed);
    if (name == "NFD")
      return std::make_unique<normal_form>(decomposed);
    if (name == "NFKC")
      return std::make_unique<normal_form>(composed | UTF8PROC_COMPAT);
    if (name == "NFKD")
      return std::make_unique<normal_form>(decomposed | UTF8PROC_COMPAT);
    return nullptr;
  }

  explicit normal_form(int options) : options_(static_cast<utf8proc_option_t>(options)) {}
  std::string apply(std::string text) const override {
    auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
    utf8proc_uint8_t* made = nullptr;
    auto size = utf8proc_map(bytes, static_cast<utf8proc_ssize_t>(text.size()), &made, options_);
    auto owner = std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)>{made, &std::free};
    if (size == UTF8PROC_ERROR_NOMEM)
      throw std::bad_alloc{};
    return size < 0 ? text : std::string(reinterpret_cast<const char*>(made), static_cast<size_t>(size));
  }

private:
  utf8proc_option_t options_;
};

enum class behaviour : uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Cuts `word` at `matches`; `invert` exchanges what matches and what lies between.
void cut(const std::string& word, const spans& matches, bool invert, behaviour how, std::vector<std::string>& out) {
  struct part {
    size_t begin, end;
    bool match;
  };
  auto parts = std::vector<part>{};
  auto at = size_t{0};
  for (auto [begin, end] : matches) {
    if (begin > at)
      parts.push_back({at, begin, invert});
    parts.push_back({begin, end, !invert});
    at = end;
  }
  if (at < word.size())
    parts.push_back({at, word.size(), invert});
  auto merged = std::vector<part>{};
  for (auto i = size_t{0}; i < parts.size(); ++i) {
    const auto& next = parts[i];
    auto join = false;
    if (!merged.empty()) {
      if (how == behaviour::contiguous)
        join = merged.back().match == next.match;
      else if (how == behaviour::merged_with_previous)
        join = next.match && !parts[i - 1].match;
      else if (how == behaviour::merged_with_next)
        join = !next.match && parts[i - 1].match;
    }
    if (join)
      merged.back().end = next.end;
    else if (how != behaviour::removed || !next.match)
      merged.push_back(next);
  }
  for (const auto& piece : merged)
    out.push_back(word.substr(piece.begin, piece.end - piece.begin));
}

class split final : public pre_tokenizer {
public:
  explicit split(const json_reader& step) : pattern_(step), invert_(step.find_bool("invert").value_or(false)) {
    auto name = std::string_view{step.require_string("behavior")};
    if (name == "Removed")
      how_ = behaviour::removed;
    else if (name == "Isolated")
      how_ = behaviour::isolated;
    else if (name == "MergedWithPrevious")
      how_ = behaviour::merged_with_previous;
    else if (name == "MergedWithNext")
      how_ = behaviour::merged_with_next;
    else if (name == "Contiguous")
      how_ = behaviour::contiguous;
    else
      step.refuse("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  }
  void apply(std::string word, bool, std::vector<std::string>& out) const override {
    cut(word, pattern_.matches(word), invert_, how_, out);
  }

private:
  pattern pattern_;
  bool invert_;
  behaviour how_ = behaviour::isolated;
};

bool starts_with_space(const std::string& text) {
  static const auto space = regex{"^\\s"};
  return !space.matches(std::string_view{text}.substr(0, utf8::front(text).bytes)).empty();
}

class byte_level final : public pre_tokenizer {
public:
  explicit byte_level(const json_reader& step) : add_space_(step.find_bool("add_prefix_space").value_or(true)) {
    if (step.find_bool("use_regex").value_or(true))
      words_.emplace(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
  }
  void apply(std::string word, bool, std::vector<std::string>& out) const override {
    if (word.empty())
      return;
    if (add_space_ && !starts_with_space(word))
      word.insert(0, 1, ' ');
    auto words = std::vector<std::string>{};
    if (words_)
      cut(word, words_->matches(word), false, behaviour::isolated, words);
    else
      words.push_back(std::move(word));
    static constexpr auto alphabet = byte_alphabet();
    for (const auto& bytes : words) {
      auto& spelled = out.emplace_back();
      for (auto byte : bytes)
        utf8::append(spelled, alphabet[static_cast<uint8_t>(byte)]);
    }
  }

private:
  bool add_space_;
  std::optional<regex> words_;
};

class metaspace final : public pre_tokenizer {
public:
  explicit metaspace(const json_reader& step) : mark_("\u2581"), split_(step.find_bool("split").value_or(true)) {
    if (auto* mark = step.find_string("replacement")) {
      mark_ = *mark;
      if (mark_.empty() || utf8::front(mark_).bytes != mark_.size())
        step.refuse("replacement", "one character");
    }
    auto scheme = std::string_view{step.find_bool("add_prefix_space").value_or(true) ? "always" : "never"};
    if (auto* text = step.find_string("prepend_scheme"))
      scheme = *text;
    if (scheme != "always" && scheme != "never" && scheme != "first")
      step.refuse("prepend_scheme", "always, never or first");
    always_ = scheme == "always";
    first_ = scheme == "first";
  }
  void apply(std::string word, bool first, std::vector<std::string>& out) const override {
    auto marked = std::string{};
    for (auto c : word)
      if (c == ' ')
        marked += mark_;
      else
        marked += c;
    if ((always_ || (first_ && first)) && !marked.starts_with(mark_))
      marked.insert(0, mark_);
    if (!split_) {
      out.push_back(std::move(marked));
      return;
    }
    auto marks = spans{};
    for (auto at = marked.find(mark_); at != std::string::npos; at = marked.find(mark_, at + mark_.size()))
      marks.emplace_back(at, at + mark_.size());
    cut(marked, marks, false, behaviour::merged_with_next, out);
  }

private:
  std::string mark_;
  bool split_;
  bool always_ = false;
  bool first_ = false;
};

class digits final : public pre_tokenizer {
public:
  explicit digits(const json_reader& step) : single_(step.find_bool("individual_digits").value_or(false)) {}
  void apply(std::string word, bool, std::vector<std::string>& out) const override {
    static const auto number = regex{"\\p{N}"};
    cut(word, number.matches(word), false, single_ ? behaviour::isolated : behaviour::contiguous, out);
  }

private:
  bool single_;
};

/// Calls `add(type, reader)` for every step under `value`; `Sequence` may nest.
template <class Add>
void each_step(const json::value& value, std::string_view list_key, const std::string& where, Add&& add) {
  if (value.is_null())
    return;
  auto* object = value.if_object();
  if (object == nullptr)
    throw failure(errc::invalid_argument, fmt::format("{}: must be an object or null, found {}", where, brief(value)));
  auto outer = json_reader{*object, where};
  auto type = std::string{outer.require_string("type")};
  auto reader = json_reader{*object, where + ": " + type};
  if (type != "Sequence") {
    add(type, reader);
    return;
  }
  for (const auto& inner : reader.require_array(list_key))
    each_step(inner, list_key, where, add);
}

[[noreturn]] void unknown_step(const std::string& where, const std::string& type, std::string_view known) {
  throw failure(errc::unsupported, fmt::format("{}: type \"{}\" is not supported; supported: {}", where, type, known));
}

} // namespace

normalizers read_normalizers(const json::value& value, const std::string& where) {
  auto steps = normalizers{};
  each_step(value, "normalizers", where, [&](const std::string& type, const json_reader& reader) {
    if (type == "Prepend")
      steps.push_back(std::make_unique<prepend>(reader));
    else if (type == "Replace")
      steps.push_back(std::make_unique<replace>(reader));
    else if (auto form = normal_form::find(type))
      steps.push_back(std::move(form));
    else
      unknown_step(where, type, "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD");
  });
  return steps;
}

pre_tokenizers read_pre_tokenizers(const json::value& value, const std::string& where) {
  auto steps = pre_tokenizers{};
  each_step(value, "pretokenizers", where, [&](const std::string& type, const json_reader& reader) {
    if (type == "Split")
      steps.push_back(std::make_unique<split>(reader));
    else if (type == "ByteLevel")
      steps.push_back(std::make_unique<byte_level>(reader));
    else if (type == "Metaspace")
      steps.push_back(std::make_unique<metaspace>(reader));
    else if (type == "Digits")
      steps.push_back(std::make_unique<digits>(reader));
    else
      unknown_step(where, type, "Sequence, Split, ByteLevel, Metaspace, Digits");
  });
  return steps;
}

std::string normalize(const normalizers& steps, std::string text) {
  for (const auto& step : steps)
    text = step->apply(std::move(text));
  return text;
}

std::vector<std::string> pre_tokenize(const pre_tokenizers& steps, std::string text, bool first) {
  auto words = std::vector<std::string>{};
  words.push_back(std::move(text));
  for (const auto& step : steps) {
    auto next = std::vector<std::string>{};
    for (auto i = size_t{0}; i < words.size(); ++i)
      step->apply(std::move(words[i]), first && i == 0, next);
    words = std::move(next);
  }
  std::erase_if(words, [](const std::string& word) { return word.empty(); });
  return words;
}

} // namespace perigee::kernels
