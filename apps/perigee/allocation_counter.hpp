// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace perigee::cli {

/// How often this thread has asked `operator new` for memory since the program began. In programs that link this file
/// all of them are counted.
uint64_t allocations_of_this_thread() noexcept;

} // namespace perigee::cli
