// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace perigee::cli {

/// Rows of cells in aligned columns, two spaces apart. Cells that start with a digit stand to the right.
class text_table {
public:
  explicit text_table(std::vector<std::string> header);

  /// As many cells as the header has.
  void add(std::vector<std::string> cells);
  bool empty() const noexcept {
    return rows_.size() == 1;
  }
  /// One line a row, header first.
  std::string text() const;

private:
  std::vector<std::vector<std::string>> rows_;
};

} // namespace perigee::cli
