// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include <sys/mman.h>

namespace perigee::kernels::cpu {

/// Zeroed memory for `T` (a plain number type), page-aligned, in huge pages where the system gives them. Movable.
template <class T>
class aligned_buffer {
public:
  aligned_buffer() = default;
  /// Throws std::bad_alloc.
  explicit aligned_buffer(size_t count) : size_(count) {
    if (count == 0)
      return;
    auto* memory = ::mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      throw std::bad_alloc{};
    ::madvise(memory, count * sizeof(T), MADV_HUGEPAGE); // only a wish
    data_ = static_cast<T*>(memory);
  }
  aligned_buffer(aligned_buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  aligned_buffer& operator=(aligned_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~aligned_buffer() {
    if (data_ != nullptr)
      ::munmap(data_, size_ * sizeof(T));
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
  T* data_ = nullptr;
  size_t size_ = 0;
};

} // namespace perigee::kernels::cpu
