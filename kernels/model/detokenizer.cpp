// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/detokenizer.hpp"

#include "kernels/model/utf8.hpp"

namespace perigee::kernels {

detokenizer::detokenizer(const tokenizer& tokens, bool at_start, bool skip_special)
  : tokens_(tokens), skip_special_(skip_special), first_(at_start),
    strip_left_(at_start ? tokens.decoder_.strip_count() : 0) {}

std::string detokenizer::push(token_id id) {
  if (tokens_.skipped(id, skip_special_))
    return {};
  auto next = tokens_.decoder_.decode(tokens_.names_[static_cast<size_t>(id)], first_);
  first_ = false;
  auto out = std::string{};
  if (next.whole) {
    give_up(out);
    out += next.bytes;
  } else {
    held_ += next.bytes;
    drain(out);
  }
  return strip(std::move(out));
}

std::string detokenizer::finish() {
  auto out = std::string{};
  give_up(out);
  return strip(std::move(out));
}

/// Moves everything that is decided from `held_` to `out`.
void detokenizer::drain(std::string& out) {
  auto rest = std::string_view{held_};
  while (!rest.empty()) {
    auto next = utf8::front(rest);
    if (next.kind == utf8::sequence::form::partial)
      break;
    if (next.kind == utf8::sequence::form::character)
      out += rest.substr(0, next.bytes);
    else
      for (auto i = 0u; i < (tokens_.decoder_.replaces_each_byte() ? next.bytes : 1u); ++i)
        out += utf8::replacement;
    rest.remove_prefix(next.bytes);
  }
  held_.erase(0, held_.size() - rest.size());
}

/// What is held back will not become a character any more.
void detokenizer::give_up(std::string& out) {
  auto count = tokens_.decoder_.replaces_each_byte() ? held_.size() : held_.empty() ? size_t{0} : size_t{1};
  for (auto i = size_t{0}; i < count; ++i)
    out += utf8::replacement;
  held_.clear();
}

std::string detokenizer::strip(std::string text) {
  const auto& what = tokens_.decoder_.strip_text();
  auto at = size_t{0};
  while (strip_left_ > 0 && at < text.size()) {
    if (text.compare(at, what.size(), what) != 0) {
      strip_left_ = 0;
      break;
    }
    at += what.size();
    --strip_left_;
  }
  return text.substr(at);
}

} // namespace perigee::kernels
