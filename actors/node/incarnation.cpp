// SPDX-License-Identifier: Apache-2.0
#include "actors/node/incarnation.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

namespace perigee {

namespace {

std::filesystem::path state_dir() {
  if (auto* dir = std::getenv("XDG_STATE_HOME"); dir && *dir)
    return std::filesystem::path{dir} / "perigee";
  if (auto* home = std::getenv("HOME"); home && *home)
    return std::filesystem::path{home} / ".local" / "state" / "perigee";
  return {};
}

} // namespace

uint64_t next_incarnation(const std::string& node) {
  auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  auto now = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count());
  auto dir = state_dir();
  if (dir.empty())
    return now;
  auto file = dir / (node + ".incarnation");
  auto last = uint64_t{0};
  std::ifstream{file} >> last;
  auto next = std::max(last + 1, now);
  auto ignored = std::error_code{};
  std::filesystem::create_directories(dir, ignored);
  auto fresh = file;
  fresh += ".new";
  if (auto out = std::ofstream{fresh}; out << next << '\n' && out.flush())
    std::filesystem::rename(fresh, file, ignored);
  return next;
}

uint64_t random_seed() {
  auto source = std::random_device{};
  return uint64_t{source()} << 32 | source();
}

} // namespace perigee
