// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"

#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace perigee {

/// Which attempts at a prefill instance are about to store which blocks, so that one that needs them can wait instead
/// of computing them a second time. Attempts are known by their numbers. Constant time a block. Pure.
class coming_blocks {
public:
  void add(uint64_t number, const shared_list<block_key>& keys) {
    for (const auto& key : keys)
      coming_[key].push_back(number);
  }

  /// What `add` was told for that number.
  void remove(uint64_t number, const shared_list<block_key>& keys) {
    for (const auto& key : keys) {
      auto at = coming_.find(key);
      auto& numbers = at->second;
      numbers.erase(std::find(numbers.begin(), numbers.end(), number));
      if (numbers.empty())
        coming_.erase(at);
    }
  }

  /// Whether an attempt with a lower number is about to store more than the first `blocks` blocks of this prompt.
  bool more_than(uint32_t blocks, uint64_t number, const shared_list<block_key>& keys) const {
    if (blocks >= keys.size())
      return false;
    // Equal keys mean equal prefixes: who stores this block stores all before it.
    auto at = coming_.find(keys[blocks]);
    return at != coming_.end()
           && std::any_of(at->second.begin(), at->second.end(), [&](uint64_t other) { return other < number; });
  }

private:
  std::unordered_map<block_key, boost::container::small_vector<uint64_t, 2>, block_key_hash> coming_; // never iterated
};

} // namespace perigee
