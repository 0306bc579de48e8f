// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/digest.hpp"

#include "actors/core/interfaces.hpp"
#include "actors/edge/message_record.hpp"
#include "actors/sim/quick_sum.hpp"
#include "transport/base/status.hpp"

#include <openssl/evp.h>

#include <cerrno>
#include <cstring>

namespace perigee::sim {

namespace {

constexpr size_t pending_bytes_max = 1 << 16;
constexpr uint8_t message_tag = 1;
constexpr uint8_t timer_tag = 2;

/// The types of nearly all messages, and those with long lists, take the short way. False for all others.
template <class... Types>
bool append_one_of(content_sink& sink, const caf::message& what) {
  if (what.size() != 1)
    return false;
  auto type = what.type_at(0);
  return ((type == caf::type_id_v<Types> && sink.apply(what.get_as<Types>(0))) || ...);
}

} // namespace

digest::digest(const std::string& log_path) : hash_(EVP_MD_CTX_new()), sink_(pending_, runs_) {
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
  pending_.put(message_tag);
  pending_.put(ns);
  add(sender);
  add(receiver);
  auto types = what.types();
  pending_.put(static_cast<uint16_t>(types.size()));
  for (auto type : types)
    pending_.put(type); // Ids are positions that never change.
  auto length_at = pending_.size();
  pending_.put(uint32_t{0});
  auto start = pending_.size();
  if (!append_one_of<run_decode, work_done, token_batch, client_texts, token_acks, report, open_request, prefill_job,
                     reserve, run_prefill, stage_job>(sink_, what)) {
    others_.clear();
    append_content(others_, what);
    pending_.put(others_.data(), others_.size());
  }
  auto length = static_cast<uint32_t>(pending_.size() - start);
  std::memcpy(pending_.data() + length_at, &length, sizeof(length));
  if (log_ != nullptr) {
    const auto* bytes = reinterpret_cast<const caf::byte*>(pending_.data()) + start;
    auto line = record_line(ns, sender, receiver, type_names(what), {bytes, bytes + length});
    std::fwrite(line.data(), 1, line.size(), log_);
  }
  if (pending_.size() < pending_bytes_max)
    return;
  add_pending(hash_);
  pending_.clear();
}

void digest::fired(uint64_t ns, uint64_t timer) {
  ++events_;
  pending_.put(timer_tag);
  pending_.put(ns);
  pending_.put(timer);
  if (log_ != nullptr)
    std::fprintf(log_, "%llu timer %llu\n", static_cast<unsigned long long>(ns),
                 static_cast<unsigned long long>(timer));
}

std::string digest::hex() const {
  auto* copy = EVP_MD_CTX_new();
  EVP_MD_CTX_copy_ex(copy, hash_);
  add_pending(copy);
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

void digest::add(std::string_view text) {
  pending_.put(static_cast<uint16_t>(text.size()));
  pending_.put(text.data(), text.size());
}

/// With its length, which tells padding from zeros.
void digest::add_pending(evp_md_ctx_st* to) const {
  auto sums = quick_sum({pending_.data(), pending_.size()});
  auto size = uint64_t{pending_.size()};
  EVP_DigestUpdate(to, &size, sizeof(size));
  EVP_DigestUpdate(to, sums.data(), sizeof(sums));
}

} // namespace perigee::sim
