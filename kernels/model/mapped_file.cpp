// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/mapped_file.hpp"

#include "transport/base/status.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace perigee::kernels {

mapped_file::mapped_file(const std::filesystem::path& path) {
  auto file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    throw failure(errno == ENOENT ? errc::not_found : errc::io_error,
                  path.string() + ": cannot be opened: " + std::strerror(errno));
  struct stat info = {};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(file);
    throw failure(errc::io_error, path.string() + ": is not a regular file");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    auto* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) {
      auto reason = std::string{std::strerror(errno)};
      ::close(file);
      throw failure(errc::io_error, path.string() + ": cannot be mapped: " + reason);
    }
    data_ = static_cast<const std::byte*>(mapped);
  }
  ::close(file);
}

mapped_file::mapped_file(mapped_file&& other) noexcept
  : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

mapped_file& mapped_file::operator=(mapped_file&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

mapped_file::~mapped_file() {
  if (data_ != nullptr)
    ::munmap(const_cast<std::byte*>(data_), size_);
}

} // namespace perigee::kernels
