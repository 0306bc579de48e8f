// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace perigee::kernels {

/// The printable character that byte-level vocabularies write for each byte: itself where it is printable Latin-1,
/// otherwise the next unused code point from U+0100 on. Source: the GPT-2 tokenizer.
constexpr std::array<char32_t, 256> byte_alphabet() {
  auto table = std::array<char32_t, 256>{};
  auto next = char32_t{256};
  for (auto byte = 0; byte < 256; ++byte) {
    auto printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table[byte] = printable ? static_cast<char32_t>(byte) : next++;
  }
  return table;
}

} // namespace perigee::kernels
