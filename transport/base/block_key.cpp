// SPDX-License-Identifier: Apache-2.0
#include "transport/base/block_key.hpp"

#include <openssl/evp.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace perigee {

namespace {

using digest = std::array<unsigned char, 32>;

digest sha256(std::span<const std::byte> first, std::span<const std::byte> second = {}) {
  // A context costs an allocation; one a thread is enough, because each use starts it anew.
  thread_local auto context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
  thread_local auto method = std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)>{EVP_MD_fetch(nullptr, "SHA256", nullptr), &EVP_MD_free};
  auto result = digest{};
  auto size = 0u;
  if (!context || !method || EVP_DigestInit_ex(context.get(), method.get(), nullptr) != 1
      || EVP_DigestUpdate(context.get(), first.data(), first.size()) != 1
      || EVP_DigestUpdate(context.get(), second.data(), second.size()) != 1
      || EVP_DigestFinal_ex(context.get(), result.data(), &size) != 1)
    throw std::runtime_error("SHA-256 is not available from OpenSSL");
  return result;
}

block_key truncate(const digest& full) {
  auto word = [&](size_t at) {
    auto value = uint64_t{0};
    for (auto i = at; i < at + 8; ++i)
      value = value << 8 | full[i];
    return value;
  };
  return {word(0), word(8)};
}

std::array<std::byte, 16> bytes_of(const block_key& key) {
  auto out = std::array<std::byte, 16>{};
  for (auto i = 0; i < 8; ++i) {
    out[i] = static_cast<std::byte>(key.high >> (56 - 8 * i));
    out[8 + i] = static_cast<std::byte>(key.low >> (56 - 8 * i));
  }
  return out;
}

template <size_t N>
std::string hex(const std::array<unsigned char, N>& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  auto text = std::string{};
  text.reserve(2 * N);
  for (auto byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

} // namespace

std::string to_string(const block_key& key) {
  auto raw = std::array<unsigned char, 16>{};
  auto bytes = bytes_of(key);
  std::memcpy(raw.data(), bytes.data(), raw.size());
  return hex(raw);
}

block_key root_key(std::string_view fingerprint, std::string_view tenant_salt) {
  // The length stands between the two, so that no other pair of strings gives the same bytes.
  auto text = std::to_string(fingerprint.size()) + ':' + std::string{fingerprint} + std::string{tenant_salt};
  return truncate(sha256(std::as_bytes(std::span{text})));
}

block_key child_key(const block_key& parent, std::span<const token_id> tokens) {
  static_assert(sizeof(token_id) == 4, "token ids are hashed as 4 little-endian bytes");
  auto head = bytes_of(parent);
  return truncate(sha256(head, std::as_bytes(tokens)));
}

std::vector<block_key> chain_keys(const block_key& root, std::span<const token_id> tokens, uint32_t block_tokens) {
  auto keys = std::vector<block_key>{};
  keys.reserve(tokens.size() / block_tokens);
  auto parent = root;
  for (auto at = size_t{0}; at + block_tokens <= tokens.size(); at += block_tokens)
    keys.push_back(parent = child_key(parent, tokens.subspan(at, block_tokens)));
  return keys;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  return hex(sha256(bytes));
}

} // namespace perigee
