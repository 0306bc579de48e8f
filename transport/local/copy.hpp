// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace perigee::transport {

/// From this size on `copy_bytes` takes what it moves for cold: a KV block that nobody on this core touches again soon.
inline constexpr size_t streaming_bytes_min = size_t{256} << 10;

/// Copies between ranges that do not overlap. Large copies bypass the cache where the processor can: they run faster
/// than through it, and leave the working set of the kernels in place. Everything is visible to other threads on
/// return, given the usual synchronisation.
void copy_bytes(std::byte* to, const std::byte* from, size_t bytes) noexcept;

} // namespace perigee::transport
