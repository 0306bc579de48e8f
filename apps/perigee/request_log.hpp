// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/status_messages.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace perigee::cli {

/// One prompt of one HTTP request, as records know it.
struct request_record {
  std::string id;     ///< the name clients have seen
  request_id request; ///< its name inside the cluster
  uint32_t prompt_tokens = 0;
  std::optional<uint32_t> cached_tokens;   ///< once it has ended
  std::optional<decision_record> decision; ///< where it was asked for; final once `cached_tokens` is there
};

/// The newest few thousand prompts that a gateway handed to its session, by the names clients know.
class request_log {
public:
  explicit request_log(size_t kept_max = 4096) : kept_max_(kept_max) {}

  /// Returns the record's number.
  uint64_t add(request_record record) {
    by_id_[record.id] = ++newest_;
    records_.push_back(std::move(record));
    if (records_.size() > kept_max_) {
      if (auto at = by_id_.find(records_.front().id); at != by_id_.end() && at->second == oldest())
        by_id_.erase(at);
      records_.pop_front();
    }
    return newest_;
  }

  /// Null once it is forgotten.
  request_record* find(uint64_t number) {
    return number < oldest() || number > newest_ ? nullptr : &records_[number - oldest()];
  }
  /// 0 where there is none (any more).
  uint64_t number_of(const std::string& id) const {
    auto at = by_id_.find(id);
    return at == by_id_.end() ? 0 : at->second;
  }
  /// Numbers of the newest `count`, newest first.
  std::vector<uint64_t> newest(size_t count) const {
    auto numbers = std::vector<uint64_t>{};
    for (auto number = newest_; number >= oldest() && number > 0 && numbers.size() < count; --number)
      numbers.push_back(number);
    return numbers;
  }

private:
  uint64_t oldest() const {
    return newest_ + 1 - records_.size();
  }

  size_t kept_max_;
  uint64_t newest_ = 0; ///< number of the back; they count up without gaps
  std::deque<request_record> records_;
  std::map<std::string, uint64_t> by_id_;
};

} // namespace perigee::cli
