// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/stream.hpp"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace perigee::kernels {

/// The passages that are under way in a stream (`prefill_work`), with what it keeps of each from one item to the next.
template <class Kept>
class passage_table {
public:
  explicit passage_table(uint32_t layers) : layers_(layers) {}

  /// One item's turn. Ends its passage unless `passed` was said, or if it was the last.
  class visit {
  public:
    /// Begins the passage with its first item. Otherwise the item must be for the tokens of those before it, and for
    /// the layers that follow: see `outcome`. `table` outlives it.
    visit(passage_table& table, const prefill_work& work) : table_(table), work_(work) {
      auto at = table_.open_.find(work.passage);
      if (work.layers.first > 0) {
        if (at == table_.open_.end() || at->second.next_layer != work.layers.first || at->second.start != work.start
            || at->second.tokens != work.tokens.size())
          outcome_ = {errc::invalid_argument,
                      fmt::format("passage is {}; allowed: one under way, with these tokens, that has come to layer {}",
                                  work.passage, work.layers.first)};
      } else if (work.passage != work.id || at != table_.open_.end()) {
        outcome_ = {errc::invalid_argument,
                    fmt::format("passage is {}; allowed: {}, the id of its first item", work.passage, work.id)};
      } else if (table_.open_.size() >= stream_passages_max) {
        outcome_ = {errc::exhausted, fmt::format("{0} passages are under way; allowed: {0}", stream_passages_max)};
      } else {
        at = table_.open_.emplace(work.passage, entry{0, work.start, work.tokens.size(), {}}).first;
      }
      if (outcome_.ok())
        entry_ = &at->second;
    }
    ~visit() {
      if (entry_ != nullptr)
        table_.open_.erase(work_.passage);
    }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

    const status& outcome() const noexcept {
      return outcome_;
    }
    /// While the outcome is ok.
    Kept& kept() const noexcept {
      return entry_->kept;
    }
    /// The item's layers are done.
    void passed() {
      entry_->next_layer = work_.layers.end_of(table_.layers_);
      if (entry_->next_layer < table_.layers_)
        entry_ = nullptr;
    }

  private:
    passage_table& table_;
    const prefill_work& work_;
    status outcome_;
    typename passage_table::entry* entry_ = nullptr; // to be ended
  };

  void end(uint64_t passage) {
    open_.erase(passage);
  }

private:
  struct entry {
    uint32_t next_layer = 0;
    uint32_t start = 0;
    size_t tokens = 0;
    Kept kept;
  };

  const uint32_t layers_;
  std::map<uint64_t, entry> open_;
};

} // namespace perigee::kernels
