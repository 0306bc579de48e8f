// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace perigee {

/// Shows that a rare branch was reached: production code names the branch, a simulation that collects reads the counts. Costs
/// one comparison where nobody collects.
class marker_counts {
public:
  /// Counts on this thread from now on, until destroyed; the innermost one counts.
  marker_counts() : outer_(current()) {
    current() = this;
  }
  marker_counts(const marker_counts&) = delete;
  marker_counts& operator=(const marker_counts&) = delete;
  ~marker_counts() {
    current() = outer_;
  }

  uint64_t operator[](const std::string& name) const {
    auto at = counts_.find(name);
    return at == counts_.end() ? 0 : at->second;
  }
  const std::map<std::string, uint64_t>& all() const {
    return counts_;
  }

  static void hit(const char* name) {
    if (auto* counts = current())
      ++counts->counts_[name];
  }

private:
  static marker_counts*& current() {
    thread_local marker_counts* pointer = nullptr;
    return pointer;
  }

  marker_counts* outer_;
  std::map<std::string, uint64_t> counts_;
};

inline void marker(const char* name) {
  marker_counts::hit(name);
}

} // namespace perigee
