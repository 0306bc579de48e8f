// SPDX-License-Identifier: Apache-2.0
#include "actors/session/session.hpp"

#include "actors/core/actor_time.hpp"
#include "actors/core/post.hpp"

#include <caf/actor_cast.hpp>

#include <algorithm>
#include <iterator>

namespace perigee {

session_state::session_state(session_actor::pointer self, session_options options)
  : self_(self), times_(options.times), core_(std::move(options)) {}

template <class Message>
void session_state::handle(const Message& message) {
  core_.on(now_ns(*self_), message);
  flush();
}

void session_state::flush() {
  core_.out.flush(peers_);
  if (!core_.events.empty())
    tell_edges();
}

void session_state::set_edge(uint64_t client, caf::actor edge) {
  if (edges_.empty())
    one_edge_ = edge;
  else if (one_edge_ != edge)
    one_edge_ = nullptr;
  edges_[client] = std::move(edge);
}

void session_state::drop_edge(uint64_t client) {
  edges_.erase(client);
  if (edges_.empty())
    one_edge_ = nullptr;
}

/// In order.
void session_state::tell_edges() {
  for (auto& event : core_.events)
    std::visit(
      [&](auto& content) {
        using type = std::decay_t<decltype(content)>;
        if constexpr (std::is_same_v<type, client_texts>) {
          tell_texts(std::move(content));
        } else {
          auto at = edges_.find(content.client);
          if (at == edges_.end())
            return;
          auto edge = at->second;
          if constexpr (std::is_same_v<type, client_end> || std::is_same_v<type, client_error>)
            drop_edge(content.client);
          post(edge, std::move(content));
        }
      },
      event);
  core_.events.clear(); // and keeps its memory
}

/// Those that follow each other and have one edge go there as one message; nearly always that is all of them.
void session_state::tell_texts(client_texts news) {
  if (one_edge_) { // A text's client is open, so that its edge is known.
    post(one_edge_, std::move(news));
    return;
  }
  auto edge_of = [this](const client_text& item) {
    auto at = edges_.find(item.client);
    return at == edges_.end() ? nullptr : &at->second;
  };
  while (!news.items.empty()) {
    const auto* edge = edge_of(news.items.front());
    auto other = std::find_if(news.items.begin() + 1, news.items.end(), [&](const client_text& item) {
      const auto* its = edge_of(item);
      return its != edge && (its == nullptr || edge == nullptr || *its != *edge);
    });
    auto rest = client_texts{};
    if (other != news.items.end()) {
      rest.items.assign(std::make_move_iterator(other), std::make_move_iterator(news.items.end()));
      news.items.erase(other, news.items.end());
    }
    if (edge != nullptr)
      post(*edge, std::move(news));
    news = std::move(rest);
  }
}

session_actor::behavior_type session_state::make_behavior() {
  self_->delayed_send(self_, times_.tick, atom::tick_v);
  return {
    // The most frequent first: they are tried in this order.
    [this](const token_batch& message) { handle(message); },
    [this](const peer_up& news) { peers_.up(news); },
    [this](const peer_down& news) {
      if (peers_.down(news))
        handle(news);
    },
    [this](atom::tick) {
      core_.tick(now_ns(*self_));
      flush();
      self_->delayed_send(self_, times_.tick, atom::tick_v);
    },
    [this](open_request& request) {
      set_edge(request.client, caf::actor_cast<caf::actor>(self_->current_sender()));
      core_.on(now_ns(*self_), std::move(request));
      flush();
    },
    [this](const close_request& request) {
      handle(request);
      drop_edge(request.client);
    },
    [this](const conductor_hello& message) { handle(message); },
    [this](const accepted& message) { handle(message); },
    [this](const placed& message) { handle(message); },
    [this](const rejected& message) { handle(message); },
    [this](const withdrawn& message) { handle(message); },
    [this](const job_ack& message) { handle(message); },
    [this](const job_failed& message) { handle(message); },
    [this](atom::drain) { core_.drain(); },
    [this](atom::get_status) { return core_.status(); },
  };
}

} // namespace perigee
