// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee {

/// Finds the first of several stop strings in text that comes in pieces, and withholds text that may begin one.
class stop_matcher {
public:
  explicit stop_matcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  struct outcome {
    std::string text; ///< certain not to belong to a stop string
    bool stopped = false;
  };

  /// After `stopped` nothing more may be pushed.
  outcome push(std::string_view piece) {
    if (stops_.empty())
      return {std::string{piece}, false};
    withheld_ += piece;
    auto at = std::string::npos;
    for (const auto& stop : stops_)
      at = std::min(at, withheld_.find(stop));
    if (at != std::string::npos) {
      auto text = withheld_.substr(0, at);
      withheld_.clear();
      return {std::move(text), true};
    }
    auto keep = size_t{0};
    for (const auto& stop : stops_)
      keep = std::max(keep, overlap(stop));
    auto text = withheld_.substr(0, withheld_.size() - keep);
    withheld_.erase(0, text.size());
    return {std::move(text), false};
  }

  /// The rest, when the choice ended otherwise.
  std::string flush() {
    return std::exchange(withheld_, {});
  }

private:
  /// Length of the longest proper prefix of `stop` that ends `withheld_`.
  size_t overlap(std::string_view stop) const {
    for (auto size = std::min(stop.size() - 1, withheld_.size()); size > 0; --size)
      if (std::string_view{withheld_}.substr(withheld_.size() - size) == stop.substr(0, size))
        return size;
    return 0;
  }

  std::vector<std::string> stops_; // none is empty
  std::string withheld_;
};

} // namespace perigee
