// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/token_decoder.hpp"

#include "kernels/model/byte_alphabet.hpp"
#include "kernels/model/json_reader.hpp"
#include "kernels/model/utf8.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// The byte that "<0x41>" spells.
std::optional<char> spelled_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>')
    return std::nullopt;
  auto value = 0u;
  auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  if (error != std::errc{} || end != text.data() + 5)
    return std::nullopt;
  return static_cast<char>(value);
}

/// The bytes that characters of the byte alphabet spell; nothing if one is not in it.
std::optional<std::string> spelled_bytes(std::string_view text) {
  static const auto table = [] {
    auto result = std::map<char32_t, char>{};
    for (auto byte = 0; byte < 256; ++byte)
      result.emplace(byte_alphabet()[byte], static_cast<char>(byte));
    return result;
  }();
  auto out = std::string{};
  while (!text.empty()) {
    auto next = utf8::front(text);
    auto found = table.find(next.code_point);
    if (next.kind != utf8::sequence::form::character || found == table.end())
      return std::nullopt;
    out += found->second;
    text.remove_prefix(next.bytes);
  }
  return out;
}

[[noreturn]] void unsupported(const std::string& where, const std::string& what) {
  throw failure(errc::unsupported, where + ": " + what);
}

} // namespace

token_decoder::token_decoder(const json::value& value, const std::string& where) {
  auto fused = false;
  auto add = [&](const json::value& item, auto& self) -> void {
    auto* object = item.if_object();
    if (object == nullptr)
      throw failure(errc::invalid_argument, fmt::format("{}: must be an object or null, found {}", where, brief(item)));
    auto reader = json_reader{*object, where};
    auto type = std::string{reader.require_string("type")};
    if (type == "Sequence") {
      for (const auto& inner : reader.require_array("decoders"))
        self(inner, self);
    } else if (type == "Replace") {
      const auto& from =
        json_reader{reader.require_object("pattern"), where + ": Replace: pattern"}.require_string("String");
      if (from.empty() || fused || byte_fallback_ || byte_level_)
        unsupported(where, "Replace is supported with a text that is not empty, before the other steps");
      replacements_.emplace_back(from, reader.require_string("content"));
    } else if (type == "ByteFallback") {
      byte_fallback_ = true;
    } else if (type == "ByteLevel") {
      byte_level_ = true;
    } else if (type == "Fuse") {
      fused = true;
    } else if (type == "Strip") {
      if (!fused || reader.find_uint("stop", 0, 0xffff).value_or(0) != 0)
        unsupported(where, "Strip is supported after Fuse and with \"stop\": 0");
      strip_text_ = reader.require_string("content");
      if (strip_text_.empty())
        reader.refuse("content", "one character");
      strip_count_ = static_cast<uint32_t>(reader.require_uint("start", 0, 0xffff));
    } else if (type == "Metaspace") {
      auto* mark = reader.find_string("replacement");
      mark_ = mark == nullptr ? "\u2581" : std::string{*mark};
      if (mark_.empty())
        reader.refuse("replacement", "one character");
      auto* scheme = reader.find_string("prepend_scheme");
      drops_first_mark_ = scheme != nullptr ? *scheme != "never" : reader.find_bool("add_prefix_space").value_or(true);
    } else {
      unsupported(where,
                  fmt::format("type \"{}\" is not supported; supported: Sequence, Replace, ByteFallback, ByteLevel, "
                              "Fuse, Strip, Metaspace",
                              type));
    }
  };
  if (!value.is_null())
    add(value, add);
  if (byte_fallback_ && byte_level_)
    unsupported(where, "ByteFallback and ByteLevel together are not supported");
}

token_decoder::piece token_decoder::decode(const std::string& text, bool first) const {
  auto result = piece{text, true};
  for (const auto& [from, to] : replacements_)
    replace_all(result.bytes, from, to);
  if (byte_level_) {
    if (auto bytes = spelled_bytes(result.bytes))
      result.bytes = std::move(*bytes);
    result.whole = false; // what stands between two halves of a character breaks it, so all is judged as bytes
  } else if (byte_fallback_) {
    if (auto byte = spelled_byte(result.bytes))
      result = {std::string(1, *byte), false};
  }
  if (!mark_.empty() && result.whole)
    replace_all(result.bytes, mark_, first && drops_first_mark_ ? "" : " ");
  return result;
}

} // namespace perigee::kernels
