// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/status.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace perigee::transport {

/// Commands on their way to one thread, which sleeps in poll(2) on `wait_fd`. Any thread may push, one takes. What
/// bounds it is the limit on posted transfers that the fabric in front of it keeps.
template <class Command>
class mailbox {
public:
  /// Throws `failure` if the system has no event descriptor left.
  mailbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0)
      throw failure{errc::exhausted, std::string{"cannot make an event descriptor: "} + std::strerror(errno)};
  }

  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  ~mailbox() {
    close(fd_);
  }

  void push(Command command) {
    auto was_empty = false;
    {
      auto lock = std::lock_guard{mutex_};
      was_empty = commands_.empty();
      commands_.push_back(std::move(command));
      has_mail_.store(true, std::memory_order_release);
    }
    if (was_empty) {
      auto one = uint64_t{1};
      while (write(fd_, &one, sizeof one) < 0 && errno == EINTR) {
      }
    }
  }

  /// Everything that was pushed so far, oldest first.
  std::deque<Command> take() {
    auto out = std::deque<Command>{};
    if (!has_mail_.load(std::memory_order_acquire))
      return out;
    // The descriptor is reset first: a push after the swap finds the box empty and signals again.
    auto count = uint64_t{0};
    while (read(fd_, &count, sizeof count) < 0 && errno == EINTR) {
    }
    auto lock = std::lock_guard{mutex_};
    out.swap(commands_);
    has_mail_.store(false, std::memory_order_release);
    return out;
  }

  /// Readable while something may be inside.
  int wait_fd() const noexcept {
    return fd_;
  }

private:
  int fd_;
  std::mutex mutex_;
  std::deque<Command> commands_; // guarded by mutex_
  std::atomic<bool> has_mail_ = false;
};

} // namespace perigee::transport
