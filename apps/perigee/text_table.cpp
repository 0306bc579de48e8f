// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/text_table.hpp"

#include <algorithm>
#include <cassert>
#include <cctype>

namespace perigee::cli {

text_table::text_table(std::vector<std::string> header) {
  rows_.push_back(std::move(header));
}

void text_table::add(std::vector<std::string> cells) {
  assert(cells.size() == rows_.front().size());
  rows_.push_back(std::move(cells));
}

std::string text_table::text() const {
  auto columns = rows_.front().size();
  auto widths = std::vector<size_t>(columns);
  auto to_right = std::vector<bool>(columns, rows_.size() > 1);
  for (size_t i = 0; i < rows_.size(); ++i)
    for (size_t c = 0; c < columns; ++c) {
      const auto& cell = rows_[i][c];
      widths[c] = std::max(widths[c], cell.size());
      if (i > 0 && !cell.empty() && std::isdigit(static_cast<unsigned char>(cell.front())) == 0)
        to_right[c] = false;
    }
  auto out = std::string{};
  for (const auto& row : rows_) {
    auto line = std::string{};
    for (size_t c = 0; c < columns; ++c) {
      auto padding = std::string(widths[c] - row[c].size(), ' ');
      line += (c == 0 ? "" : "  ") + (to_right[c] ? padding + row[c] : row[c] + padding);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return out;
}

} // namespace perigee::cli
