// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/membership.hpp"

#include <optional>
#include <utility>

namespace perigee {

/// Keeps the books of one actor's reports to the Conductor: whom to report to, and what ended since the last report that was
/// acknowledged. What ended is repeated until then.
class reporter {
public:
  reporter(const address& self, uint64_t interval_ns) : self_(self), interval_ns_(interval_ns) {}

  /// Returns false for a Conductor of the past. A full report is due afterwards.
  bool on(const conductor_hello& hello) {
    if (conductor_ && conductor_->incarnation > hello.term)
      return false;
    conductor_ = hello.from;
    full_due_ = true;
    return true;
  }

  void on(const report_ack& ack) {
    if (conductor_ != ack.from)
      return;
    std::erase_if(ended_, [&](const auto& item) { return item.second != 0 && item.second <= ack.sequence; });
  }

  void lost(const address& who) {
    if (conductor_ == who)
      conductor_.reset();
  }

  void ended(load_item item) {
    if (ended_.size() >= ended_max)
      ended_.erase(ended_.begin());
    ended_.emplace_back(item, 0);
    urgent_ = true;
  }

  /// Urgent: the Conductor may have a request that waits for this instance.
  void sample(prefill_sample item) {
    if (prefills_.size() < ended_max)
      prefills_.push_back(item);
    urgent_ = true;
  }
  void sample(transfer_sample item) {
    if (transfers_.size() < samples_max)
      transfers_.push_back(item);
  }
  void sample(step_sample item) {
    // The newest few say as much as all of them.
    if (steps_.size() < samples_max)
      steps_.push_back(item);
  }

  const std::optional<address>& conductor() const {
    return conductor_;
  }
  uint64_t term() const {
    return conductor_ ? conductor_->incarnation : 0;
  }

  /// Whether the Conductor is to hear something now.
  bool due(uint64_t now_ns) const {
    return conductor_ && (full_due_ || urgent_ || sent_ns_ + interval_ns_ <= now_ns);
  }

  /// Starts the report that is due: everything but the actor's own numbers; `full` says whether `active` is wanted.
  report next(uint64_t now_ns) {
    auto result = report{};
    result.from = self_;
    result.term = term();
    result.sequence = ++sequence_;
    result.full = std::exchange(full_due_, false);
    for (auto& [item, first_sent] : ended_) {
      result.ended.push_back(item);
      if (first_sent == 0)
        first_sent = result.sequence;
    }
    result.prefills = std::exchange(prefills_, {});
    result.steps = std::exchange(steps_, {});
    result.transfers = std::exchange(transfers_, {});
    urgent_ = false;
    sent_ns_ = now_ns;
    return result;
  }

private:
  static constexpr auto ended_max = size_t{65536};
  static constexpr auto samples_max = size_t{8};

  address self_;
  uint64_t interval_ns_;
  std::optional<address> conductor_;
  std::vector<std::pair<load_item, uint64_t>> ended_; // with the number of the first report that carried it
  std::vector<prefill_sample> prefills_;
  std::vector<step_sample> steps_;
  std::vector<transfer_sample> transfers_;
  uint64_t sequence_ = 0;
  uint64_t sent_ns_ = 0;
  bool full_due_ = false;
  bool urgent_ = false;
};

} // namespace perigee
