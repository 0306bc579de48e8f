// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <boost/json/fwd.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace perigee::kernels {

/// A vocabulary that does not come from a tokenizer.json.
struct bpe_parts {
  struct merge {
    token_id left = 0;
    token_id right = 0;
    token_id result = 0;
    uint32_t rank = 0; ///< lowest first; among equals the leftmost pair goes first
  };
  std::vector<std::string> pieces; ///< by id
  std::vector<merge> merges;
  std::optional<token_id> unknown;
  bool byte_fallback = false;
  bool fuse_unknown = false;
  bool ignore_merges = false;
};

/// Byte-pair encoding: a vocabulary of pieces and ranked merges. Immutable once made.
/// Source: Sennrich et al. 2016; the details (byte fallback, order of merges) follow the `tokenizer.json` format.
class bpe {
public:
  /// From the `model` object of a tokenizer.json. Throws `failure` naming the key, piece or merge.
  bpe(const boost::json::object& model, const std::string& where);
  /// Throws `failure` (invalid_argument) where two pieces are the same; `where` names the file. Ids must be in range.
  bpe(bpe_parts parts, const std::string& where);

  /// Appends the ids of one word. O(n log n) in its length.
  void encode(std::string_view word, std::vector<token_id>& out) const;

  std::optional<token_id> find(std::string_view piece) const;
  /// Piece by id; empty where the id is not in use.
  const std::vector<std::string>& pieces() const noexcept {
    return pieces_;
  }
  bool byte_fallback() const noexcept {
    return byte_fallback_;
  }

private:
  struct merge {
    uint32_t rank = 0;
    token_id result = 0;
  };
  struct text_hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };

  void find_bytes();
  void read_vocab(const boost::json::object& model, const std::string& where);
  void read_merges(const boost::json::object& model, const std::string& where);
  const merge* find_merge(token_id left, token_id right) const;
  void split(std::string_view word, std::vector<token_id>& symbols) const;

  std::unordered_map<std::string, token_id, text_hash, std::equal_to<>> ids_;
  std::vector<std::string> pieces_;
  std::unordered_map<uint64_t, merge> merges_; ///< by (left id, right id)
  std::array<token_id, 256> byte_ids_ = {};    ///< of "<0x00>".., -1 where missing
  std::optional<token_id> unknown_;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

} // namespace perigee::kernels
