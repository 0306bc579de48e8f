// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/bpe.hpp"
#include "kernels/model/text_steps.hpp"
#include "kernels/model/token_decoder.hpp"
#include "transport/base/block_key.hpp"

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::kernels {

struct encode_options {
  bool template_tokens = true; ///< put the post-processor's tokens (BOS) around the text
  bool added_tokens = true;    ///< added and special tokens spelled in the text become their ids
};

/// Text to ids and back, as a Hugging Face `tokenizer.json` says: added tokens are cut out, the rest is normalized,
/// split into words and encoded by BPE. Immutable once made; may be used from several threads.
class tokenizer {
public:
  /// Throws `failure`: not_found, invalid_argument (malformed; the key is named), unsupported (a step it does not
  /// know).
  explicit tokenizer(const std::filesystem::path& tokenizer_json);
  /// With the vocabulary from elsewhere; `steps` has everything of a tokenizer.json but `model`.
  tokenizer(bpe vocabulary, const boost::json::object& steps, const std::string& where);

  /// Throws `failure` with invalid_argument where `text` is not valid UTF-8.
  std::vector<token_id> encode(std::string_view text, encode_options options = {}) const;

  /// The text of `ids`; always valid UTF-8. Ids that are not in the vocabulary are left out, special ones if
  /// `skip_special`. A run of byte-fallback tokens that is not valid UTF-8 as a whole gives one U+FFFD a byte.
  std::string decode(std::span<const token_id> ids, bool skip_special = true) const;

  /// One more than the highest id.
  uint32_t size() const noexcept {
    return static_cast<uint32_t>(names_.size());
  }
  /// The id of a piece or added token spelled exactly so.
  std::optional<token_id> find(std::string_view piece) const;
  /// As the file spells it; empty for an id that is not in use.
  std::string_view piece(token_id id) const noexcept;
  bool is_special(token_id id) const noexcept;

private:
  friend class detokenizer;

  struct added_token {
    token_id id = 0;
    std::string content; ///< normalized, where `normalized` says so
    bool special = false;
    bool normalized = false;
    bool single_word = false;
    bool strip_left = false;
    bool strip_right = false;
  };
  /// A part of a text: an added token, or text where `id` is negative.
  struct part {
    std::string_view text;
    token_id id = -1;
  };

  tokenizer(const boost::json::object& file, const std::string& where);
  void read_added(const boost::json::object& file, const std::string& where);
  void read_post_processor(const boost::json::value& value, const std::string& where);
  std::vector<part> cut(std::string_view text, bool normalized) const;
  const added_token* match(std::string_view text, size_t at, bool normalized) const;
  bool skipped(token_id id, bool skip_special) const noexcept;

  bpe bpe_;
  normalizers normalizers_;
  pre_tokenizers pre_tokenizers_;
  token_decoder decoder_;
  std::vector<added_token> added_;                         ///< longest content first
  std::array<std::vector<uint32_t>, 256> added_by_byte_;   ///< indices into `added_`, by first byte
  std::map<std::string, token_id, std::less<>> added_ids_; ///< by the content as spelled
  std::vector<std::string> names_;                         ///< piece by id
  std::vector<bool> special_;                              ///< by id
  std::vector<token_id> before_;                           ///< ids the template puts before the text
  std::vector<token_id> after_;
};

} // namespace perigee::kernels
