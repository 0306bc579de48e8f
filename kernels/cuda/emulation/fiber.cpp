// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulation/fiber.hpp"

#include <cstdint>
#include <cstdlib>
#include <utility>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef __x86_64__
// Saves what the calling convention asks a callee to keep, and goes on where the other stack left off. swapcontext does
// the same with two system calls, far slower; one product of a warp is 32 changes.
asm(R"(
.text
.type perigee_fiber_change, @function
perigee_fiber_change:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size perigee_fiber_change, .-perigee_fiber_change
)");
extern "C" void perigee_fiber_change(void** from, void* to);
#endif

namespace perigee::kernels::cuda::emulation {

namespace {

constexpr auto stack_bytes = size_t{64} << 10;

thread_local fiber* left = nullptr;    // the last that changed away
thread_local fiber* entered = nullptr; // the one that runs

} // namespace

fiber::fiber(std::function<void()> body)
  : body_(std::move(body)), stack_(new std::byte[stack_bytes]), bottom_(stack_.get()), size_(stack_bytes) {
#ifdef __x86_64__
  // As if `begin` had been called: six registers, its address, and above it the return address it never uses.
  auto top = (reinterpret_cast<uintptr_t>(stack_.get()) + stack_bytes) / 16 * 16;
  auto* words = reinterpret_cast<void**>(top) - 8;
  for (auto i = 0; i < 8; ++i)
    words[i] = nullptr;
  words[6] = reinterpret_cast<void*>(&fiber::begin);
  top_ = words;
#else
  getcontext(&saved_);
  saved_.uc_stack.ss_sp = stack_.get();
  saved_.uc_stack.ss_size = stack_bytes;
  makecontext(&saved_, &fiber::begin, 0);
#endif
}

void fiber::begin() {
  entered->arrived();
  entered->body_();
  std::abort(); // the body never returns
}

void fiber::arrived() {
#ifdef __SANITIZE_ADDRESS__
  const void* bottom = nullptr;
  auto size = size_t{0};
  __sanitizer_finish_switch_fiber(fake_stack_, &bottom, &size);
  left->bottom_ = bottom;
  left->size_ = size;
#endif
}

void fiber::change_to(fiber& other) {
  left = this;
  entered = &other;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&fake_stack_, other.bottom_, other.size_);
#endif
#ifdef __x86_64__
  perigee_fiber_change(&top_, other.top_);
#else
  swapcontext(&saved_, &other.saved_);
#endif
  arrived();
}

} // namespace perigee::kernels::cuda::emulation
