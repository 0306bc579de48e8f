// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/memory_nodes.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <string>

namespace perigee::kernels::cpu {

namespace {

constexpr auto interleave = 3; // MPOL_INTERLEAVE of <linux/mempolicy.h>, which needs libnuma's headers elsewhere
constexpr auto nodes_max = uint32_t{1024};
constexpr auto word_bits = uint32_t{8 * sizeof(unsigned long)};

} // namespace

std::vector<uint32_t> parse_number_list(std::string_view text) {
  auto found = std::vector<uint32_t>{};
  auto* at = text.data();
  auto* end = at + text.size();
  auto read = [&](uint32_t& number) {
    auto [rest, error] = std::from_chars(at, end, number);
    at = rest;
    return error == std::errc{} && number < nodes_max;
  };
  for (auto first = uint32_t{0}; at != end && read(first); ++at) {
    auto last = first;
    if (at != end && *at == '-' && (++at == end || !read(last)))
      break;
    for (auto number = first; number <= last; ++number)
      found.push_back(number);
    if (at == end || *at != ',')
      break;
  }
  return found;
}

std::vector<uint32_t> memory_nodes() {
  auto file = std::ifstream{"/sys/devices/system/node/has_memory"};
  auto text = std::string{};
  std::getline(file, text);
  return parse_number_list(text);
}

bool spread_over_memory_nodes(std::span<std::byte> memory, const std::vector<uint32_t>& nodes) noexcept {
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto begin = (reinterpret_cast<uintptr_t>(memory.data()) + page - 1) / page * page;
  auto end = (reinterpret_cast<uintptr_t>(memory.data()) + memory.size()) / page * page;
  if (nodes.size() < 2 || begin >= end)
    return false;
  unsigned long wanted[nodes_max / word_bits] = {};
  for (auto node : nodes)
    if (node < nodes_max)
      wanted[node / word_bits] |= 1ul << node % word_bits;
  // The system reads one bit less than it is told.
  return syscall(SYS_mbind, begin, end - begin, interleave, wanted, nodes_max + 1ul, 0u) == 0;
}

} // namespace perigee::kernels::cpu
