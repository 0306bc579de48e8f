// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"

#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace perigee {

/// The tokens an instance generated and what their session has acknowledged. Sends each token once, repeats what stays
/// unacknowledged, and forgets a choice when its finish was acknowledged or its session is gone.
class token_outbox {
public:
  class stream;

  /// `start` is the number of the choice's first token here. What is returned is good until the choice is forgotten.
  stream& open(const ticket& id, uint32_t choice, const address& session, uint32_t start, uint32_t reused) {
    auto& [key, opened] = *streams_.try_emplace({id, choice}).first;
    opened.id_ = key.first;
    opened.choice_ = key.second;
    opened.session_ = session;
    opened.acked_ = opened.sent_ = start;
    opened.reused_ = reused;
    return opened;
  }

  void push(stream& to, token_id token) {
    to.tokens_.push_back(token);
    list(to);
  }

  /// The first reason stays.
  void finish(const ticket& id, uint32_t choice, finish_reason reason) {
    auto& stream = streams_.at({id, choice});
    if (stream.finish_ != finish_reason::none)
      return;
    stream.finish_ = reason;
    list(stream);
  }

  bool has(const ticket& id, uint32_t choice) const {
    return streams_.contains({id, choice});
  }

  /// Returns whether the session wants no more of a choice that had not finished.
  bool on(const token_ack& ack, uint64_t now_ns) {
    auto at = streams_.find({ack.id, ack.choice});
    if (at == streams_.end())
      return false;
    auto& stream = at->second;
    if (ack.finished) {
      auto early = stream.finish_ == finish_reason::none;
      unlist(stream);
      streams_.erase(at);
      return early;
    }
    if (ack.next > stream.acked_ && ack.next <= stream.end()) {
      stream.tokens_.erase(stream.tokens_.begin(), stream.tokens_.begin() + (ack.next - stream.acked_));
      stream.acked_ = ack.next;
      stream.sent_ = std::max(stream.sent_, stream.acked_);
      stream.progress_ns_ = now_ns;
    }
    return false;
  }

  void drop_session(const address& session) {
    drop_if([&](const stream& item) { return item.session_ == session; });
  }

  /// Another instance tells the session about the choices that go on.
  void drop_unfinished(const ticket& id) {
    drop_if([&](const stream& item) { return item.id_ == id && item.finish_ == finish_reason::none; });
  }

  void drop(const ticket& id) {
    drop_if([&](const stream& item) { return item.id_ == id; });
  }

  using batches = boost::container::small_vector<std::pair<address, token_batch>, 1>;

  /// New tokens, one batch per session, in the order in which they came; also what has been unacknowledged for `retry_ns`
  /// (UINT64_MAX: nothing else).
  batches collect(const address& self, uint64_t now_ns, uint64_t retry_ns) {
    auto batches = token_outbox::batches{};
    for (auto* fresh : fresh_) {
      fresh->listed_ = false;
      add(batches, self, *fresh, fresh->sent_, now_ns);
    }
    fresh_.clear(); // and keeps its memory
    if (retry_ns == UINT64_MAX)
      return batches;
    for (auto& [key, stream] : streams_)
      if (stream.unheard() && now_ns - stream.progress_ns_ >= retry_ns)
        add(batches, self, stream, stream.acked_, now_ns);
    return batches;
  }

  size_t size() const {
    return streams_.size();
  }

  /// One choice.
  class stream {
    friend token_outbox;

    ticket id_;
    uint32_t choice_ = 0;
    address session_;
    uint32_t acked_ = 0; // number of tokens_[0]
    uint32_t sent_ = 0;
    std::vector<token_id> tokens_;
    finish_reason finish_ = finish_reason::none;
    bool listed_ = false; // in fresh_
    uint32_t reused_ = 0;
    uint64_t progress_ns_ = 0; // last time something was sent or acknowledged

    uint32_t end() const {
      return acked_ + static_cast<uint32_t>(tokens_.size());
    }
    bool unheard() const {
      return acked_ < end() || finish_ != finish_reason::none;
    }
  };

private:
  void list(stream& fresh) {
    if (!std::exchange(fresh.listed_, true))
      fresh_.push_back(&fresh);
  }

  void unlist(const stream& gone) {
    if (gone.listed_)
      std::erase(fresh_, &gone);
  }

  template <class Condition>
  void drop_if(Condition condition) {
    for (auto at = streams_.begin(); at != streams_.end();) {
      if (!condition(at->second)) {
        ++at;
        continue;
      }
      unlist(at->second);
      at = streams_.erase(at);
    }
  }

  /// The tokens from number `from` on, and the finish.
  void add(batches& batches, const address& self, stream& what, uint32_t from, uint64_t now_ns) const {
    auto& batch = batch_for(batches, what.session_);
    batch.from = self;
    batch.updates.push_back({what.id_,
                             what.choice_,
                             from,
                             {what.tokens_.begin() + (from - what.acked_), what.tokens_.end()},
                             what.finish_,
                             what.reused_});
    what.sent_ = what.end();
    what.progress_ns_ = now_ns;
  }

  /// There are few sessions.
  token_batch& batch_for(batches& batches, const address& session) const {
    for (auto& [who, batch] : batches)
      if (who == session)
        return batch;
    batches.emplace_back(session, token_batch{});
    batches.back().second.updates.reserve(std::max<size_t>(1, fresh_.size()));
    return batches.back().second;
  }

  std::map<std::pair<ticket, uint32_t>, stream> streams_;
  std::vector<stream*> fresh_; // those of which something has not been sent yet, in order
};

} // namespace perigee
