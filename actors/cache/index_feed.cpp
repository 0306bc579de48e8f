// SPDX-License-Identifier: Apache-2.0
#include "actors/cache/index_feed.hpp"

namespace perigee {

index_feed::index_feed(address self, uint64_t retry_ns, index_feed_limits limits)
  : self_(self), retry_ns_(retry_ns), limits_(limits) {}

void index_feed::begin(uint64_t term) {
  term_ = term;
  begin_epoch();
}

void index_feed::record(const index_event& change) {
  if (term_ == 0 || (snapshot_ && (!cursor_ || change.key > *cursor_)))
    return;
  pending_.push_back(change);
  if (pending_.size() > limits_.pending_max)
    begin_epoch();
}

void index_feed::ack(const index_ack& news) {
  if (term_ == 0 || news.term != term_ || news.epoch != epoch_)
    return;
  if (news.resync)
    return begin_epoch();
  if (!unacked_ || news.next < sequence_ || news.next > sequence_ + batch_.size())
    return; // late: answers an earlier batch
  batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(news.next - sequence_));
  sequence_ = news.next;
  unacked_ = !batch_.empty();
}

std::optional<index_events> index_feed::poll(const block_index& index, uint64_t now) {
  if (term_ == 0 || (unacked_ && now < next_send_))
    return std::nullopt;
  if (!unacked_) {
    fill(index);
    if (batch_.empty() && !fresh_)
      return std::nullopt;
    fresh_ = false;
    unacked_ = true;
  }
  next_send_ = now + retry_ns_;
  return index_events{self_, term_, epoch_, sequence_, batch_};
}

void index_feed::begin_epoch() {
  ++epoch_;
  sequence_ = 0;
  batch_.clear();
  unacked_ = false;
  fresh_ = true;
  snapshot_ = true;
  cursor_.reset();
  pending_.clear();
}

void index_feed::fill(const block_index& index) {
  while (snapshot_ && batch_.size() < limits_.batch_max) {
    if (auto key = index.next(cursor_)) {
      batch_.push_back({*key, true});
      cursor_ = key;
    } else {
      snapshot_ = false;
    }
  }
  while (!snapshot_ && !pending_.empty() && batch_.size() < limits_.batch_max) {
    batch_.push_back(pending_.front());
    pending_.pop_front();
  }
}

} // namespace perigee
