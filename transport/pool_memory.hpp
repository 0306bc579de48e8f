// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace perigee::transport {

/// Zeroed memory for a pool of KV blocks: anonymous pages that start on a huge-page boundary and ask for huge pages,
/// because the page size decides how fast another process or device reaches them. Freed with the object. Pages are
/// taken at first touch.
class pool_memory {
public:
  static constexpr size_t alignment = size_t{2} << 20;

  pool_memory() noexcept = default;
  /// Throws `failure` (`exhausted`) if the system refuses `bytes`.
  explicit pool_memory(size_t bytes);
  pool_memory(pool_memory&& other) noexcept;
  pool_memory& operator=(pool_memory&& other) noexcept;
  ~pool_memory();

  std::span<std::byte> bytes() const noexcept {
    return bytes_;
  }

private:
  std::span<std::byte> bytes_;
};

} // namespace perigee::transport
