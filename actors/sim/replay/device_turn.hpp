// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <deque>

namespace perigee::sim {

/// One device under two streams: the work of one runs at a time, and who waits longest is next.
template <class Stream>
class device_turn {
public:
  /// Whether `who` may run now; if not, it is told by `Stream::take_turn` when it may.
  bool take(Stream* who) {
    if (!holder_ || holder_ == who) {
      holder_ = who;
      return true;
    }
    if (std::find(waiting_.begin(), waiting_.end(), who) == waiting_.end())
      waiting_.push_back(who);
    return false;
  }

  void release() {
    holder_ = nullptr;
    if (waiting_.empty())
      return;
    holder_ = waiting_.front();
    waiting_.pop_front();
    holder_->take_turn();
  }

private:
  Stream* holder_ = nullptr;
  std::deque<Stream*> waiting_;
};

} // namespace perigee::sim
