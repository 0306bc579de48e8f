// SPDX-License-Identifier: Apache-2.0
#include "transport/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>

namespace perigee::transport {

namespace {

bool inside(uint64_t offset, uint64_t bytes, uint64_t size) noexcept {
  return offset <= size && bytes <= size - offset;
}

std::vector<piece> merged(std::vector<piece> pieces) {
  auto out = std::vector<piece>{};
  out.reserve(pieces.size());
  for (const auto& next : pieces) {
    if (next.bytes == 0)
      continue;
    if (!out.empty() && out.back().local_offset + out.back().bytes == next.local_offset
        && out.back().remote_offset + out.back().bytes == next.remote_offset)
      out.back().bytes += next.bytes;
    else
      out.push_back(next);
  }
  return out;
}

} // namespace

uint64_t total_bytes(const std::vector<piece>& pieces) noexcept {
  auto sum = uint64_t{0};
  for (const auto& part : pieces)
    sum =
      part.bytes > std::numeric_limits<uint64_t>::max() - sum ? std::numeric_limits<uint64_t>::max() : sum + part.bytes;
  return sum;
}

status check_transfer(const transfer& work, uint64_t local_bytes) {
  if (work.op == direction::read && work.immediate)
    return {errc::invalid_argument, fmt::format("transfer {}: a read carries no immediate; leave it empty", work.id)};
  for (auto i = size_t{0}; i < work.pieces.size(); ++i) {
    const auto& part = work.pieces[i];
    auto complain = [&](std::string_view side, uint64_t offset, uint64_t size) -> status {
      return {errc::invalid_argument,
              fmt::format("transfer {}: piece {} covers {} bytes from {}, but the {} region has {} bytes", work.id, i,
                          part.bytes, offset, side, size)};
    };
    if (!inside(part.local_offset, part.bytes, local_bytes))
      return complain("local", part.local_offset, local_bytes);
    if (!inside(part.remote_offset, part.bytes, work.remote.bytes))
      return complain("remote", part.remote_offset, work.remote.bytes);
  }
  return {};
}

piece_cursor::piece_cursor(std::vector<piece> pieces) : pieces_(merged(std::move(pieces))) {}

piece piece_cursor::next(uint64_t bytes_max) noexcept {
  assert(!done() && bytes_max > 0);
  const auto& part = pieces_[at_];
  auto bytes = std::min(bytes_max, part.bytes - used_);
  auto out = piece{part.local_offset + used_, part.remote_offset + used_, bytes};
  used_ += bytes;
  if (used_ == part.bytes) {
    ++at_;
    used_ = 0;
  }
  return out;
}

} // namespace perigee::transport
