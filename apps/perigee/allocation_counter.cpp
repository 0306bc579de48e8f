// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/allocation_counter.hpp"

#include <cstdlib>
#include <new>

namespace {

thread_local uint64_t allocations = 0;

} // namespace

// The other forms of new and delete lead here; the aligned ones are left to the library.
void* operator new(std::size_t bytes) {
  ++allocations;
  if (auto* memory = std::malloc(bytes == 0 ? 1 : bytes))
    return memory;
  throw std::bad_alloc{};
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace perigee::cli {

uint64_t allocations_of_this_thread() noexcept {
  return allocations;
}

} // namespace perigee::cli
