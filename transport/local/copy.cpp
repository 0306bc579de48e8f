// SPDX-License-Identifier: Apache-2.0
#include "transport/local/copy.hpp"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace perigee::transport {

namespace {

#if defined(__x86_64__)

constexpr size_t line_bytes = 64;
constexpr size_t ahead_bytes = 1024; // far enough to hide memory latency, near enough to stay in the first-level cache

void stream_lines(std::byte* to, const std::byte* from, size_t bytes) noexcept {
  for (auto at = size_t{0}; at < bytes; at += line_bytes) {
    _mm_prefetch(reinterpret_cast<const char*>(from + at + ahead_bytes), _MM_HINT_NTA);
    const auto* source = reinterpret_cast<const __m128i*>(from + at);
    auto* target = reinterpret_cast<__m128i*>(to + at);
    auto a = _mm_loadu_si128(source);
    auto b = _mm_loadu_si128(source + 1);
    auto c = _mm_loadu_si128(source + 2);
    auto d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, a);
    _mm_stream_si128(target + 1, b);
    _mm_stream_si128(target + 2, c);
    _mm_stream_si128(target + 3, d);
  }
  _mm_sfence();
}

void copy_cold(std::byte* to, const std::byte* from, size_t bytes) noexcept {
  auto head = (line_bytes - reinterpret_cast<uintptr_t>(to) % line_bytes) % line_bytes;
  std::memcpy(to, from, head);
  auto lines = (bytes - head) / line_bytes * line_bytes;
  stream_lines(to + head, from + head, lines);
  std::memcpy(to + head + lines, from + head + lines, bytes - head - lines);
}

#else

void copy_cold(std::byte* to, const std::byte* from, size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
}

#endif

} // namespace

void copy_bytes(std::byte* to, const std::byte* from, size_t bytes) noexcept {
  if (bytes >= streaming_bytes_min)
    copy_cold(to, from, bytes);
  else if (bytes > 0)
    std::memcpy(to, from, bytes);
}

} // namespace perigee::transport
