// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace perigee::kernels::cuda::emulation {

/// A stack and where its code goes on. A default one stands for the stack of the operating-system thread that changes
/// from it; one with a body begins there when it is first changed to. The body never returns, it changes away. All
/// within one operating-system thread.
class fiber {
public:
  fiber() = default;
  explicit fiber(std::function<void()> body);
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// From this one, which runs, to `other`; returns when somebody changes back.
  void change_to(fiber& other);

private:
  static void begin();
  void arrived();

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
#ifdef __x86_64__
  void* top_ = nullptr;
#else
  ucontext_t saved_ = {};
#endif
  const void* bottom_ = nullptr; ///< of the stack, for the address sanitizer, as what follows
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
};

} // namespace perigee::kernels::cuda::emulation
