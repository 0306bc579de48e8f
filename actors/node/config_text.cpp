// SPDX-License-Identifier: Apache-2.0
#include "actors/node/config_text.hpp"

#include <fmt/format.h>

#include <cctype>
#include <map>

namespace perigee::actors {

namespace {

/// One open bracket: the keys seen inside a map, or the elements counted in a list.
struct scope {
  char open = '{';
  uint32_t line = 0;
  std::string path;
  std::map<std::string, uint32_t, std::less<>> keys; ///< line of each key
  uint32_t element = 0;
};

bool word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

/// Reads the text once; knows strings, comments, words and brackets, and leaves everything else to CAF's reader.
class scanner {
public:
  scanner(std::string_view text, const std::string& name) : in_(text), name_(name) {
    scopes_.push_back(scope{});
  }

  scanned_config run() {
    while (at_ < in_.size() && brackets_match_)
      step();
    if (brackets_match_ && scopes_.size() > 1)
      fail(name_, fmt::format("line {}: '{}' is never closed", scopes_.back().line, scopes_.back().open));
    return std::move(out_);
  }

private:
  void step() {
    auto c = in_[at_];
    if (c == '#')
      copy_while([](char x) { return x != '\n'; });
    else if (c == '"' || c == '\'')
      key_or_value(quoted(c), true);
    else if (word_char(c))
      key_or_value(word(), false);
    else
      punctuation(c);
  }

  void punctuation(char c) {
    if (c == '\n')
      ++line_;
    else if (c == '{' || c == '[')
      enter(c);
    else if (c == '}' || c == ']')
      leave(c);
    else if (c == ',' && scopes_.back().open == '[')
      ++scopes_.back().element;
    out_.text += c;
    ++at_;
  }

  void enter(char open) {
    auto& outer = scopes_.back();
    auto path = outer.open == '[' ? fmt::format("{}[{}]", outer.path, outer.element) : pending_;
    scopes_.push_back(scope{.open = open, .line = line_, .path = std::move(path), .keys = {}, .element = 0});
  }

  /// After a mismatch nothing that follows means what it seems to.
  void leave(char close) {
    const auto& inner = scopes_.back();
    brackets_match_ = scopes_.size() > 1 && inner.open == (close == '}' ? '{' : '[');
    if (brackets_match_)
      scopes_.pop_back();
    else if (scopes_.size() > 1)
      fail(name_,
           fmt::format("line {}: '{}' where the '{}' of line {} is still open", line_, close, inner.open, inner.line));
    else
      fail(name_, fmt::format("line {}: '{}' closes nothing", line_, close));
  }

  /// A word or string that is followed by an assignment or a section is a key.
  void key_or_value(const std::string& text, bool was_quoted) {
    auto next = at_;
    while (next < in_.size() && (in_[next] == ' ' || in_[next] == '\t'))
      ++next;
    auto follows = next < in_.size() ? in_[next] : '\0';
    auto is_key = scopes_.back().open == '{' && (follows == '=' || follows == ':' || follows == '{');
    if (is_key)
      note_key(text);
    if (was_quoted)
      return;
    out_.text += is_key && text.find('.') != std::string::npos ? '"' + text + '"' : text;
  }

  void note_key(const std::string& key) {
    auto& here = scopes_.back();
    pending_ = here.path.empty() ? key : here.path + '.' + key;
    auto [entry, is_new] = here.keys.emplace(key, line_);
    if (!is_new)
      fail(pending_, fmt::format("given twice, in lines {} and {}; keep one", entry->second, line_));
  }

  std::string word() {
    auto begin = at_;
    while (at_ < in_.size() && word_char(in_[at_]))
      ++at_;
    return std::string{in_.substr(begin, at_ - begin)};
  }

  /// Copies a string with its quotes; returns it without them.
  std::string quoted(char quote) {
    auto begin = at_++;
    while (at_ < in_.size() && in_[at_] != quote && in_[at_] != '\n')
      at_ += in_[at_] == '\\' && at_ + 1 < in_.size() && in_[at_ + 1] != '\n' ? 2 : 1;
    if (at_ < in_.size() && in_[at_] == quote)
      ++at_;
    auto all = in_.substr(begin, at_ - begin);
    out_.text += all;
    return std::string{all.substr(1, all.size() < 2 ? 0 : all.size() - 2)};
  }

  template <class Predicate>
  void copy_while(Predicate keep) {
    while (at_ < in_.size() && keep(in_[at_]))
      out_.text += in_[at_++];
  }

  void fail(const std::string& path, std::string message) {
    out_.errors.push_back({path, std::move(message)});
  }

  std::string_view in_;
  const std::string& name_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool brackets_match_ = true;
  std::string pending_; ///< path of the key read last
  std::vector<scope> scopes_;
  scanned_config out_;
};

} // namespace

scanned_config scan_config_text(std::string_view text, const std::string& name) {
  return scanner{text, name}.run();
}

} // namespace perigee::actors
