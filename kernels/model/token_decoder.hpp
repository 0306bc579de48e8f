// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee::kernels {

/// What `decoder` in a tokenizer.json says, in a form that works token by token: each piece stands for some bytes, and
/// at the start of a text something may be stripped. Immutable once made.
class token_decoder {
public:
  /// From the JSON value of `decoder` (null: pieces are text as they are). Throws `failure` naming the step.
  token_decoder(const boost::json::value& value, const std::string& where);

  /// What a piece stands for.
  struct piece {
    std::string bytes;
    bool whole = true; ///< text of its own; false: bytes that join with those of neighbours
  };

  /// `first`: nothing that is decoded stands before it.
  piece decode(const std::string& text, bool first) const;

  /// One ill-formed byte gives one U+FFFD (byte fallback), else one maximal ill-formed part does (byte-level).
  bool replaces_each_byte() const noexcept {
    return byte_fallback_;
  }
  /// How often `strip_text` is removed from the very start of a decoded text.
  uint32_t strip_count() const noexcept {
    return strip_count_;
  }
  const std::string& strip_text() const noexcept {
    return strip_text_;
  }

private:
  std::vector<std::pair<std::string, std::string>> replacements_; ///< in order, before anything else
  bool byte_fallback_ = false;
  bool byte_level_ = false;
  bool drops_first_mark_ = false; ///< Metaspace: the first token loses its marks
  std::string mark_;              ///< Metaspace; empty where there is none
  uint32_t strip_count_ = 0;
  std::string strip_text_;
};

} // namespace perigee::kernels
