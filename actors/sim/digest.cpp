// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/digest.hpp"

#include "actors/edge/message_record.hpp"
#include "transport/base/status.hpp"

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>

namespace perigee::sim {

namespace {

constexpr size_t pending_bytes_max = 1 << 16;

} // namespace

digest::digest(const std::string& log_path) : hash_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(hash_, EVP_sha256(), nullptr);
  if (log_path.empty())
    return;
  log_ = std::fopen(log_path.c_str(), "w");
  if (log_ == nullptr) {
    EVP_MD_CTX_free(hash_);
    throw failure{errc::io_error, "digest log: cannot write " + log_path + ": " + std::strerror(errno)};
  }
}

digest::~digest() {
  EVP_MD_CTX_free(hash_);
  if (log_ != nullptr)
    std::fclose(log_);
}

void digest::delivered(uint64_t ns, std::string_view sender, std::string_view receiver, const caf::message& what) {
  ++events_;
  add("message");
  add(ns);
  add(sender);
  add(receiver);
  add(what.types().size());
  for (auto type : what.types()) {
    auto name = caf::query_type_name(type);
    add(std::string_view{name.data(), name.size()});
  }
  auto length_at = pending_.size();
  add(uint64_t{0});
  auto start = pending_.size();
  append_content(pending_, what);
  auto length = static_cast<uint64_t>(pending_.size() - start);
  std::memcpy(pending_.data() + length_at, &length, sizeof(length));
  if (log_ != nullptr) {
    caf::byte_buffer content{pending_.begin() + static_cast<std::ptrdiff_t>(start), pending_.end()};
    auto line = record_line(ns, sender, receiver, type_names(what), content);
    std::fwrite(line.data(), 1, line.size(), log_);
  }
  if (pending_.size() >= pending_bytes_max)
    flush();
}

void digest::fired(uint64_t ns, uint64_t timer) {
  ++events_;
  add("timer");
  add(ns);
  add(timer);
  if (log_ != nullptr)
    std::fprintf(log_, "%llu timer %llu\n", static_cast<unsigned long long>(ns),
                 static_cast<unsigned long long>(timer));
}

std::string digest::hex() const {
  auto* copy = EVP_MD_CTX_new();
  EVP_MD_CTX_copy_ex(copy, hash_);
  EVP_DigestUpdate(copy, pending_.data(), pending_.size());
  unsigned char value[32] = {};
  EVP_DigestFinal_ex(copy, value, nullptr);
  EVP_MD_CTX_free(copy);
  constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (auto byte : value) {
    result += digits[byte >> 4];
    result += digits[byte & 15];
  }
  return result;
}

void digest::add(uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8)
    pending_.push_back(static_cast<caf::byte>(number >> shift & 0xff));
}

void digest::add(std::string_view text) {
  add(static_cast<uint64_t>(text.size()));
  for (auto letter : text)
    pending_.push_back(static_cast<caf::byte>(letter));
}

void digest::flush() {
  EVP_DigestUpdate(hash_, pending_.data(), pending_.size());
  pending_.clear();
}

} // namespace perigee::sim
