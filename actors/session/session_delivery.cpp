// SPDX-License-Identifier: Apache-2.0
#include "actors/core/marker.hpp"
#include "actors/session/session_core.hpp"

#include <algorithm>
#include <utility>

namespace perigee {

void session_core::on(uint64_t, const job_ack& answer) {
  auto at = find(answer.id);
  if (at != branches_.end() && at->second.at == stage::placed)
    at->second.at = stage::running;
}

void session_core::on(uint64_t now_ns, const job_failed& answer) {
  auto at = find(answer.id);
  if (at == branches_.end() || answer.from != at->second.place.prefill)
    return;
  auto& [number, part] = *at;
  if (part.at != stage::placed && part.at != stage::running)
    return;
  marker("session: job failed");
  if (answer.reason == ec::deadline)
    return fail(now_ns, part.client, ec::deadline, "the deadline passed during prefill");
  if (answer.reason == ec::too_long)
    return fail(now_ns, part.client, ec::too_long, "the request does not fit into a prefill instance's memory");
  start_over(now_ns, number, backoff_ns(part));
}

void session_core::on(uint64_t now_ns, const token_batch& batch) {
  auto acks = token_acks{options_.self, {}};
  for (const auto& update : batch.updates) {
    auto at = find(update.id);
    if (at == branches_.end()) {
      // Nobody waits for these tokens: the sender ends the choice.
      marker("session: stale tokens");
      acks.acks.push_back({update.id, update.choice, UINT32_MAX, true});
      continue;
    }
    if (batch.from.kind == role::decode) {
      at->second.decode_seen = true;
      at->second.place.decode = batch.from; // News of a redirection may come later, or never.
    }
    deliver(now_ns, at, update, batch.updates.size(), acks);
  }
  if (acks.acks.empty())
    return;
  acknowledge_others(batch, acks);
  out.to(batch.from, std::move(acks));
}

/// Of the choices of a batch: if one of them is due, all go with it, and later with it again.
void session_core::acknowledge_others(const token_batch& batch, token_acks& acks) {
  for (const auto& update : batch.updates) {
    auto at = find(update.id);
    if (at == branches_.end() || update.choice >= at->second.request->choices.size())
      continue;
    auto& choice = at->second.request->choices[update.choice];
    if (choice.finished() == finish_reason::none && choice.acknowledge_early())
      acks.acks.push_back({update.id, update.choice, choice.have(), false});
  }
}

void session_core::deliver(uint64_t now_ns, branch_map::iterator at, const token_update& update, size_t updates,
                           token_acks& acks) {
  auto& [number, part] = *at;
  auto& request = *part.request;
  if (std::find(part.choices.begin(), part.choices.end(), update.choice) == part.choices.end())
    return;
  auto& choice = request.choices[update.choice];
  if (choice.finished() != finish_reason::none) {
    acks.acks.push_back({update.id, update.choice, UINT32_MAX, true});
    return;
  }
  if (!request.cached) {
    request.cached = std::min<uint32_t>(update.reused, static_cast<uint32_t>(request.spec.prompt.size()));
    totals_.cached_tokens += *request.cached;
  }
  if (update.first > choice.have())
    marker("session: tokens out of order");
  auto news = choice.push(update);
  auto finish = news.finish;
  if (choice.acknowledge(news))
    acks.acks.push_back({update.id, update.choice, choice.have(), finish != finish_reason::none});
  if (!news.text.empty() || !news.tokens.empty())
    tell_text({part.client, update.choice, std::move(news.text), std::move(news.tokens)}, updates);
  if (finish == finish_reason::none)
    return;
  if (finish == finish_reason::preempted || finish == finish_reason::failed) {
    marker("session: attempt ended early");
    start_over(now_ns, number, finish == finish_reason::failed ? to_ns(options_.times.retry) : 0);
    return;
  }
  finish_choice(request, part.client, update.choice, finish);
  if (!unfinished(part))
    finish_branch(now_ns, at, !news.stopped);
}

/// `texts`: so many may follow each other.
void session_core::tell_text(client_text text, size_t texts) {
  auto* last = events.empty() ? nullptr : std::get_if<client_texts>(&events.back());
  if (last == nullptr) {
    last = &std::get<client_texts>(events.emplace_back(std::in_place_type<client_texts>));
    last->items.reserve(texts);
  }
  last->items.push_back(std::move(text));
}

void session_core::finish_choice(request_state& request, uint64_t client, uint32_t choice, finish_reason reason) {
  request.choices[choice].finish(reason);
  events.emplace_back(std::in_place_type<client_finish>, client, choice, reason);
}

void session_core::finish_branch(uint64_t now_ns, branch_map::iterator at, bool by_instance) {
  auto [number, part] = *at;
  // A stop string is known here only: the instances go on until they are told.
  withdraw_ticket(now_ns, ticket_of(number, part), by_instance ? ec::none : ec::cancelled);
  drop_branch(number);
  auto owner = requests_.find(part.client);
  auto& request = owner->second;
  std::erase(request.branches, number);
  if (!request.branches.empty())
    return;
  auto end = client_end{part.client, static_cast<uint32_t>(request.spec.prompt.size()), 0, request.cached.value_or(0)};
  for (const auto& choice : request.choices)
    end.completion_tokens += choice.delivered();
  events.emplace_back(std::in_place_type<client_end>, end);
  requests_.erase(owner);
}

} // namespace perigee
