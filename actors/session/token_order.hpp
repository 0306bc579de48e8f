// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"

#include <map>
#include <vector>

namespace perigee {

/// Puts the tokens of one choice in order and drops doubles: updates may come twice, late, from two instances, and
/// overlap.
class token_order {
public:
  /// What became deliverable by one update.
  struct delivery {
    token_run tokens;
    finish_reason finish = finish_reason::none;
  };

  delivery push(const token_update& update) {
    if (update.first > have() && waiting_.size() < waiting_max)
      waiting_.emplace(update.first, update);
    auto result = delivery{};
    take(update, result);
    while (!waiting_.empty() && waiting_.begin()->first <= have()) {
      take(waiting_.begin()->second, result);
      waiting_.erase(waiting_.begin());
    }
    return result;
  }

  /// All tokens so far; the next one has number `have()`.
  const std::vector<token_id>& tokens() const {
    return tokens_;
  }
  uint32_t have() const {
    return static_cast<uint32_t>(tokens_.size());
  }

  /// A new attempt starts: what waits belongs to an old one.
  void restart() {
    waiting_.clear();
  }

private:
  static constexpr auto waiting_max = size_t{256}; // the sender repeats what is dropped

  void take(const token_update& update, delivery& into) {
    if (update.first > have())
      return;
    auto skip = have() - update.first;
    for (auto i = size_t{skip}; i < update.tokens.size(); ++i) {
      tokens_.push_back(update.tokens[i]);
      into.tokens.push_back(update.tokens[i]);
    }
    // A finish counts only once everything before it is here.
    if (update.finish != finish_reason::none && update.first + update.tokens.size() == have())
      into.finish = update.finish;
  }

  std::vector<token_id> tokens_;
  std::map<uint32_t, token_update> waiting_;
};

} // namespace perigee
