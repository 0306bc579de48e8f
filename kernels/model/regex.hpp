// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee::kernels {

/// A regular expression over UTF-8 with Unicode classes (PCRE2). Immutable once made; may be used from several threads.
class regex {
public:
  /// Throws `failure` with `invalid_argument` that shows the pattern and where it is wrong.
  explicit regex(const std::string& pattern);

  /// All non-empty matches in `text`, left to right, as (begin, end). `text` must be valid UTF-8. Throws `failure`
  /// where the pattern needs more steps than PCRE2's limit.
  std::vector<std::pair<size_t, size_t>> matches(std::string_view text) const;

private:
  std::shared_ptr<const void> code_; // a pcre2_code, kept out of the header
  std::string pattern_;
};

} // namespace perigee::kernels
