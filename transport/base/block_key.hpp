// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee {

/// Index into the model's vocabulary.
using token_id = int32_t;

/// Names the content of one KV block: 128 bits of SHA-256 over (parent key, token ids). Equal keys mean equal prefixes from
/// the root on, the same model, KV dtype, layout and tenant.
struct block_key {
  uint64_t high = 0;
  uint64_t low = 0;
  friend auto operator<=>(const block_key&, const block_key&) = default;
};

/// 32 lower-case hexadecimal digits.
std::string to_string(const block_key& key);

/// The parent of every first block: SHA-256 of (fingerprint, tenant salt).
block_key root_key(std::string_view fingerprint, std::string_view tenant_salt);

/// The key of the block that holds `tokens` (exactly one block's worth) after the blocks that `parent` names.
block_key child_key(const block_key& parent, std::span<const token_id> tokens);

/// Keys of all full blocks of `tokens`, first block first; a partial last block has none.
std::vector<block_key> chain_keys(const block_key& root, std::span<const token_id> tokens, uint32_t block_tokens);

/// 64 lower-case hexadecimal digits of SHA-256 over `bytes`.
std::string sha256_hex(std::span<const std::byte> bytes);

/// For hash tables; the key is already uniform.
struct block_key_hash {
  size_t operator()(const block_key& key) const noexcept {
    return static_cast<size_t>(key.low);
  }
};

} // namespace perigee
