// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/request_table.hpp"

#include "apps/perigee/client_errors.hpp"

#include <cassert>
#include <utility>

namespace perigee::cli {

open_request request_table::open(gateway::request_handle handle, gateway::completion_spec spec,
                                 std::shared_ptr<gateway::completion_sink> sink) {
  auto [at, fresh] = entries_.try_emplace(handle);
  assert(fresh);
  auto& added = at->second;
  added.sink = std::move(sink);
  added.id = std::move(spec.id);
  added.prompt_tokens = static_cast<uint32_t>(spec.prompt.size());
  added.tokens.resize(spec.choices);
  auto request = open_request{};
  request.client = handle;
  request.prompt = std::move(spec.prompt);
  request.max_tokens = spec.max_tokens;
  request.choices = spec.choices;
  request.sampling = std::move(spec.sampling);
  request.seeded = spec.seed.has_value();
  request.sampling.seed = spec.seed.value_or(0);
  request.stop = std::move(spec.stop);
  request.deadline_ns = static_cast<uint64_t>(std::chrono::nanoseconds{spec.deadline}.count());
  return request;
}

std::optional<close_request> request_table::cancel(gateway::request_handle handle, gateway::cancel_reason reason) {
  auto at = entries_.find(handle);
  if (at == entries_.end())
    return std::nullopt;
  auto ended = at->second.ended;
  entries_.erase(at);
  if (ended)
    return std::nullopt;
  return close_request{handle, reason == gateway::cancel_reason::slow_client ? ec::slow_client : ec::cancelled};
}

void request_table::set_paused(gateway::request_handle handle, bool paused) {
  auto at = entries_.find(handle);
  if (at == entries_.end())
    return;
  auto& one = at->second;
  one.paused = paused;
  if (paused)
    return;
  for (const auto& news : std::exchange(one.held, {}))
    std::visit([&](const auto& content) { deliver(one, content); }, news);
  if (one.ended)
    entries_.erase(at);
}

void request_table::on(const client_opened& news) {
  auto at = entries_.find(news.client);
  if (at != entries_.end())
    at->second.record = log_.add({at->second.id, news.request, at->second.prompt_tokens, {}, {}});
}

void request_table::on(const client_text& news) {
  receive(news, news.client);
}

void request_table::on(const client_finish& news) {
  receive(news, news.client);
}

void request_table::on(const client_end& news) {
  auto at = entries_.find(news.client);
  if (at == entries_.end())
    return;
  at->second.ended = true;
  if (auto* record = log_.find(at->second.record))
    record->cached_tokens = news.cached_tokens;
  receive(news, news.client);
  if (!at->second.paused)
    entries_.erase(at);
}

void request_table::on(const client_error& news) {
  auto at = entries_.find(news.client);
  if (at == entries_.end())
    return;
  auto sink = std::move(at->second.sink);
  entries_.erase(at);
  sink->on_error(to_api_error(news));
}

void request_table::fail_all(const gateway::api_error& why) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    auto next = std::next(at);
    if (!at->second.ended) {
      auto sink = std::move(at->second.sink);
      entries_.erase(at);
      sink->on_error(why);
    }
    at = next;
  }
}

void request_table::receive(event news, uint64_t client) {
  auto at = entries_.find(client);
  if (at == entries_.end())
    return;
  if (at->second.paused)
    hold(at->second, std::move(news));
  else
    std::visit([&](const auto& content) { deliver(at->second, content); }, news);
}

void request_table::hold(entry& at, event news) {
  auto* more = std::get_if<client_text>(&news);
  auto* last = at.held.empty() ? nullptr : std::get_if<client_text>(&at.held.back());
  if (more == nullptr || last == nullptr || more->choice != last->choice) {
    at.held.push_back(std::move(news));
    return;
  }
  last->text += more->text;
  last->tokens.insert(last->tokens.end(), more->tokens.begin(), more->tokens.end());
}

void request_table::deliver(entry& to, const client_text& news) {
  assert(news.choice < to.tokens.size());
  auto& tokens = to.tokens[news.choice];
  tokens += static_cast<uint32_t>(news.tokens.size());
  to.sink->on_text(news.choice, news.text, tokens);
}

void request_table::deliver(entry& to, const client_finish& news) {
  assert(news.reason == finish_reason::stop || news.reason == finish_reason::length);
  to.sink->on_finish(news.choice, news.reason == finish_reason::stop ? gateway::finish_reason::stop
                                                                     : gateway::finish_reason::length);
}

void request_table::deliver(entry& to, const client_end& news) {
  auto summary = gateway::completion_summary{};
  summary.prompt_tokens = news.prompt_tokens;
  summary.completion_tokens = news.completion_tokens;
  summary.cached_tokens = news.cached_tokens;
  to.sink->on_end(summary);
}

} // namespace perigee::cli
