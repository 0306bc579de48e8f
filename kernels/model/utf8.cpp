// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/utf8.hpp"

namespace perigee::kernels::utf8 {

sequence front(std::string_view text) noexcept {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  auto lead = byte(0);
  if (lead < 0x80)
    return {sequence::form::character, 1, lead};
  // Table 3-7 of the Unicode Standard: the second byte's range depends on the first.
  auto length = lead >= 0xc2 && lead <= 0xdf   ? 2u
                : lead >= 0xe0 && lead <= 0xef ? 3u
                : lead >= 0xf0 && lead <= 0xf4 ? 4u
                                               : 0u;
  if (length == 0)
    return {sequence::form::invalid, 1, 0};
  auto low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  auto high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  auto code = static_cast<char32_t>(lead & (0xff >> (length + 1)));
  for (auto i = 1u; i < length; ++i) {
    if (i == text.size())
      return {sequence::form::partial, i, 0};
    auto next = byte(i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xbf))
      return {sequence::form::invalid, i, 0};
    code = code << 6 | (next & 0x3f);
  }
  return {sequence::form::character, length, code};
}

bool valid(std::string_view text) noexcept {
  while (!text.empty()) {
    auto next = front(text);
    if (next.kind != sequence::form::character)
      return false;
    text.remove_prefix(next.bytes);
  }
  return true;
}

void append(std::string& out, char32_t code) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string lossy(std::string_view text) {
  auto out = std::string{};
  out.reserve(text.size());
  while (!text.empty()) {
    auto next = front(text);
    out += next.kind == sequence::form::character ? text.substr(0, next.bytes) : replacement;
    text.remove_prefix(next.bytes);
  }
  return out;
}

} // namespace perigee::kernels::utf8
