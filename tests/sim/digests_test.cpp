// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/digests.hpp"
#include "tests/support/testing.hpp"

#include <array>
#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

using namespace perigee;

namespace {

std::string lines_of_another_process() {
  auto self = std::filesystem::read_symlink("/proc/self/exe").string();
  auto* pipe = popen(("'" + self + "' --digests").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string result;
  std::array<char, 256> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr)
    result += part.data();
  REQUIRE(pclose(pipe) == 0);
  return result;
}

} // namespace

TEST_CASE("digests: twenty scenarios come out the same in another process, and each differently") {
  auto elsewhere = std::istringstream{lines_of_another_process()};
  std::set<std::string> seen;
  for (const auto& one : sim::digest_scenarios()) {
    INFO(one.name);
    std::string name;
    std::string digest;
    elsewhere >> name >> digest;
    CHECK(name == one.name);
    CHECK(digest.size() == 64);
    CHECK(digest == one.digest());
    CHECK(seen.insert(digest).second);
  }
  CHECK(seen.size() == 20);
}
