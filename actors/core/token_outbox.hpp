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
  /// `start` is the number of the choice's first token here.
  void open(const ticket& id, uint32_t choice, const address& session, uint32_t start, uint32_t reused) {
    auto& fresh = streams_[{id, choice}];
    fresh.session = session;
    fresh.acked = fresh.sent = start;
    fresh.reused = reused;
    fresh_ = true;
  }

  void push(const ticket& id, uint32_t choice, token_id token) {
    streams_.at({id, choice}).tokens.push_back(token);
    fresh_ = true;
  }

  /// The first reason stays.
  void finish(const ticket& id, uint32_t choice, finish_reason reason) {
    auto& stream = streams_.at({id, choice});
    if (stream.finish != finish_reason::none)
      return;
    stream.finish = reason;
    stream.finish_sent = false;
    fresh_ = true;
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
      auto early = stream.finish == finish_reason::none;
      streams_.erase(at);
      return early;
    }
    if (ack.next > stream.acked && ack.next <= stream.end()) {
      stream.tokens.erase(stream.tokens.begin(), stream.tokens.begin() + (ack.next - stream.acked));
      stream.acked = ack.next;
      stream.sent = std::max(stream.sent, stream.acked);
      stream.progress_ns = now_ns;
    }
    return false;
  }

  void drop_session(const address& session) {
    std::erase_if(streams_, [&](const auto& item) { return item.second.session == session; });
  }

  /// Another instance tells the session about the choices that go on.
  void drop_unfinished(const ticket& id) {
    std::erase_if(
      streams_, [&](const auto& item) { return item.first.first == id && item.second.finish == finish_reason::none; });
  }

  void drop(const ticket& id) {
    std::erase_if(streams_, [&](const auto& item) { return item.first.first == id; });
  }

  using batches = boost::container::small_vector<std::pair<address, token_batch>, 1>;

  /// New tokens, one batch per session, sessions in the order of their first tokens; also what has been unacknowledged
  /// for `retry_ns` (UINT64_MAX: nothing else).
  batches collect(const address& self, uint64_t now_ns, uint64_t retry_ns) {
    auto batches = token_outbox::batches{};
    if (!std::exchange(fresh_, false) && retry_ns == UINT64_MAX)
      return batches;
    for (auto& [key, stream] : streams_) {
      auto unsent = stream.sent < stream.end() || (stream.finish != finish_reason::none && !stream.finish_sent);
      auto unheard = stream.acked < stream.end() || stream.finish != finish_reason::none;
      auto repeat = unheard && now_ns - stream.progress_ns >= retry_ns;
      if (!unsent && !repeat)
        continue;
      auto from = repeat ? stream.acked : stream.sent;
      auto& batch = batch_for(batches, stream.session);
      batch.from = self;
      batch.updates.push_back({key.first,
                               key.second,
                               from,
                               {stream.tokens.begin() + (from - stream.acked), stream.tokens.end()},
                               stream.finish,
                               stream.reused});
      stream.sent = stream.end();
      stream.finish_sent = true;
      stream.progress_ns = now_ns;
    }
    return batches;
  }

  size_t size() const {
    return streams_.size();
  }

private:
  struct stream {
    address session;
    uint32_t acked = 0; // number of tokens[0]
    uint32_t sent = 0;
    std::vector<token_id> tokens;
    finish_reason finish = finish_reason::none;
    bool finish_sent = false;
    uint32_t reused = 0;
    uint64_t progress_ns = 0; // last time something was sent or acknowledged

    uint32_t end() const {
      return acked + static_cast<uint32_t>(tokens.size());
    }
  };

  /// There are few sessions.
  token_batch& batch_for(batches& batches, const address& session) const {
    for (auto& [who, batch] : batches)
      if (who == session)
        return batch;
    batches.emplace_back(session, token_batch{});
    batches.back().second.updates.reserve(streams_.size());
    return batches.back().second;
  }

  std::map<std::pair<ticket, uint32_t>, stream> streams_;
  bool fresh_ = false; // something has not been sent yet
};

} // namespace perigee
