// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace perigee::kernels::cpu {

/// Zeroed memory for `T` (a plain number type), aligned to a page, or to 2 MiB where it is that large: then the system
/// can give huge pages, without which looking up addresses costs a third of the memory's bandwidth. Movable.
template <class T>
class aligned_buffer {
public:
  aligned_buffer() = default;
  /// Throws std::bad_alloc.
  explicit aligned_buffer(size_t count) : size_(count) {
    if (count == 0)
      return;
    auto bytes = count * sizeof(T);
    auto spare = bytes >= huge_page ? huge_page : 0;
    mapped_bytes_ = bytes + spare;
    auto* memory = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      throw std::bad_alloc{};
    mapped_ = memory;
    auto* aligned = memory;
    if (spare != 0) {
      auto room = mapped_bytes_;
      aligned = std::align(huge_page, bytes, aligned, room);
      ::madvise(aligned, bytes, MADV_HUGEPAGE); // only a wish
    }
    data_ = static_cast<T*>(aligned);
  }
  aligned_buffer(aligned_buffer&& other) noexcept {
    *this = std::move(other);
  }
  aligned_buffer& operator=(aligned_buffer&& other) noexcept {
    std::swap(mapped_, other.mapped_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~aligned_buffer() {
    if (mapped_ != nullptr)
      ::munmap(mapped_, mapped_bytes_);
  }

  T* data() noexcept {
    return data_;
  }
  const T* data() const noexcept {
    return data_;
  }
  size_t size() const noexcept {
    return size_;
  }

private:
  static constexpr auto huge_page = size_t{2} << 20;

  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  T* data_ = nullptr;
  size_t size_ = 0;
};

} // namespace perigee::kernels::cpu
