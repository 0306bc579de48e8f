// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/content_sink.hpp"

#include <caf/byte_buffer.hpp>
#include <caf/message.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace perigee::sim {

/// SHA-256 over everything that happened: each delivered message and each timer, in order. Equal digests mean equal
/// runs. Of each 64 KiB of it a quick sum is hashed, of a long list of tokens the hashes of its parts are summed.
class digest {
public:
  /// With a path, everything that is hashed is also written there as lines, so that two runs can be compared by `diff`.
  /// Throws `failure`.
  explicit digest(const std::string& log_path = {});
  ~digest();

  digest(const digest&) = delete;
  digest& operator=(const digest&) = delete;

  void delivered(uint64_t ns, std::string_view sender, std::string_view receiver, const caf::message& what);
  void fired(uint64_t ns, uint64_t timer);

  /// 64 hexadecimal digits, of everything so far; more may follow.
  std::string hex() const;

  uint64_t events() const {
    return events_;
  }

private:
  void add(std::string_view text);
  void add_pending(evp_md_ctx_st* to) const;

  evp_md_ctx_st* hash_;
  byte_row pending_;
  run_hashes runs_;
  content_sink sink_;       // writes to pending_
  caf::byte_buffer others_; // what one message holds
  std::FILE* log_ = nullptr;
  uint64_t events_ = 0;
};

} // namespace perigee::sim
