// SPDX-License-Identifier: Apache-2.0
#include "transport/pool_memory.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

namespace perigee::transport {

namespace {

size_t mapped_bytes(size_t bytes) noexcept {
  return (bytes + pool_memory::alignment - 1) / pool_memory::alignment * pool_memory::alignment;
}

} // namespace

pool_memory::pool_memory(size_t bytes) {
  if (bytes == 0)
    return;
  auto refuse = [&](int error) {
    throw failure{errc::exhausted,
                  fmt::format("cannot map {} MiB of memory for a pool: {}; use a smaller pool or free memory",
                              (bytes + (1u << 20) - 1) >> 20, std::strerror(error))};
  };
  if (bytes > std::numeric_limits<size_t>::max() / 4)
    refuse(ENOMEM);
  // One alignment more than needed; what sticks out in front and behind is given back.
  auto size = mapped_bytes(bytes);
  auto* raw =
    mmap(nullptr, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED)
    refuse(errno);
  auto* start = static_cast<std::byte*>(raw);
  auto skip = (alignment - reinterpret_cast<uintptr_t>(start) % alignment) % alignment;
  if (skip > 0)
    munmap(start, skip);
  munmap(start + skip + size, alignment - skip);
  madvise(start + skip, size, MADV_HUGEPAGE); // A wish: without it everything works, only slower.
  bytes_ = {start + skip, bytes};
}

pool_memory::pool_memory(pool_memory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

pool_memory& pool_memory::operator=(pool_memory&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

pool_memory::~pool_memory() {
  if (!bytes_.empty())
    munmap(bytes_.data(), mapped_bytes(bytes_.size()));
}

} // namespace perigee::transport
