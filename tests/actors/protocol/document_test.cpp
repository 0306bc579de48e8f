// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/protocol/protocol_row.hpp"

#include <fstream>

using namespace perigee::testing;

namespace {

/// First cells of all tables in docs/protocol.md, without quotes, emphasis and headings.
std::set<std::string> documented_rows() {
  auto file = std::ifstream{source_dir() / "docs" / "protocol.md"};
  REQUIRE(file.good());
  auto rows = std::set<std::string>{};
  for (auto line = std::string{}; std::getline(file, line);) {
    if (!line.starts_with("| ") || line.starts_with("| message "))
      continue;
    auto cell = line.substr(2, line.find(" |", 2) - 2);
    std::erase_if(cell, [](char c) { return c == '`' || c == '*'; });
    CHECK_MESSAGE(rows.insert(cell).second, "two rows for " << cell);
  }
  return rows;
}

} // namespace

TEST_CASE("protocol: every row of docs/protocol.md has its test, and every such test its row") {
  auto documented = documented_rows();
  CHECK_GE(documented.size(), 39);
  for (const auto& name : documented)
    CHECK_MESSAGE(tested_rows().contains(name), "docs/protocol.md has a row for " << name << ", and there is no test");
  for (const auto& name : tested_rows())
    CHECK_MESSAGE(documented.contains(name), "there is a test for " << name << ", and no row in docs/protocol.md");
}
