// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace perigee::kernels {

/// A whole file mapped read-only for the object's life. Movable, not copyable.
class mapped_file {
public:
  /// Throws `failure` (not_found, io_error) naming the file.
  explicit mapped_file(const std::filesystem::path& path);
  mapped_file(mapped_file&& other) noexcept;
  mapped_file& operator=(mapped_file&& other) noexcept;
  ~mapped_file();

  std::span<const std::byte> bytes() const noexcept {
    return {data_, size_};
  }

private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

} // namespace perigee::kernels
