// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace perigee::kernels::cpu {

/// The numbers in a list as the system writes them, such as "0-3,8"; up to what cannot be read.
std::vector<uint32_t> parse_number_list(std::string_view text);

/// The memory nodes of this machine (NUMA); one, or none where the system does not tell.
std::vector<uint32_t> memory_nodes();

/// Asks the system to take the pages of `memory`, which must not have been touched yet, from these nodes in turn: what
/// all cores read, such as weights, then has the bandwidth of all of them. Whole pages only. Nothing is asked for where
/// there are fewer than two nodes. Whether the system agreed; it need not matter to anybody.
bool spread_over_memory_nodes(std::span<std::byte> memory, const std::vector<uint32_t>& nodes) noexcept;

} // namespace perigee::kernels::cpu
