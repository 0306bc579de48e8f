// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace perigee::kernels::utf8 {

/// What stands at the start of some bytes.
struct sequence {
  enum class form : uint8_t {
    character, ///< one whole well-formed character of `bytes` bytes
    partial,   ///< the beginning of one; more bytes are needed
    invalid,   ///< `bytes` bytes (at least one) can belong to no character: the maximal ill-formed part of the Unicode
               ///< Standard
  };
  form kind = form::invalid;
  uint32_t bytes = 1;
  char32_t code_point = 0;
};

/// Looks at the front of `text`, which must not be empty.
sequence front(std::string_view text) noexcept;

/// True when all of `text` is well-formed.
bool valid(std::string_view text) noexcept;

/// Appends the character's encoding. `code_point` must be a Unicode scalar value.
void append(std::string& out, char32_t code_point);

/// U+FFFD, which stands for what is not text.
inline constexpr std::string_view replacement = "\xef\xbf\xbd";

/// `text` with one U+FFFD for each maximal ill-formed part.
std::string lossy(std::string_view text);

} // namespace perigee::kernels::utf8
