// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/edge_actor.hpp"

#include "apps/perigee/cluster_json.hpp"
#include "apps/perigee/gateway_families.hpp"

#include <fmt/format.h>

#include <utility>

namespace perigee::cli {

namespace {

/// How many placements /cluster lists.
constexpr auto recent_max = size_t{16};

gateway::api_error no_session() {
  return gateway::unavailable("This gateway's session has ended; another gateway or a restart can serve.", 5);
}

/// A decision about a prompt that ended does not change any more.
bool is_final(const request_record& record) {
  return record.cached_tokens && record.decision;
}

} // namespace

gateway::backend_health health_of(const cluster_view& view) {
  if (!view.session)
    return {false, "The session does not answer."};
  if (!view.session->conductor_known || !view.cluster)
    return {false, "There is no Conductor, or it does not answer."};
  auto prefills = view.alive(role::prefill);
  auto decodes = view.alive(role::decode);
  if (prefills == 0)
    return {false, "No prefill instance is up."};
  if (decodes == 0)
    return {false, "No decode instance is up."};
  return {true, fmt::format("{} prefill and {} decode instances are up.", prefills, decodes)};
}

edge_state::edge_state(caf::event_based_actor* self, edge_options options, std::shared_ptr<edge_shared> shared)
  : self_(self), options_(std::move(options)), shared_(std::move(shared)) {
  view_.model = options_.model;
  view_.nodes = options_.nodes;
}

caf::behavior edge_state::make_behavior() {
  self_->set_down_handler([this](const caf::down_msg&) { session_lost(); });
  self_->monitor(options_.session);
  refresh();
  return {
    [this](atom::wake) {
      for (const auto& task : shared_->tasks.take())
        task(*this);
    },
    [this](atom::tick) { refresh(); },
    [this](const client_opened& news) { table_.on(news); },
    [this](const client_texts& news) {
      for (const auto& item : news.items)
        table_.on(item);
    },
    [this](const client_text& news) { table_.on(news); },
    [this](const client_finish& news) { table_.on(news); },
    [this](const client_end& news) { table_.on(news); },
    [this](const client_error& news) { table_.on(news); },
  };
}

// -- requests ---------------------------------------------------------------------------------------------------------

void edge_state::submit(gateway::request_handle handle, gateway::completion_spec spec,
                        std::shared_ptr<gateway::completion_sink> sink) {
  if (session_alive_)
    self_->send(options_.session, table_.open(handle, std::move(spec), std::move(sink)));
  else
    sink->on_error(no_session());
}

void edge_state::cancel(gateway::request_handle handle, gateway::cancel_reason reason) {
  if (auto message = table_.cancel(handle, reason))
    self_->send(options_.session, *message);
}

void edge_state::session_lost() {
  session_alive_ = false;
  view_.session.reset();
  table_.fail_all(no_session());
  publish_health();
}

// -- the cluster ------------------------------------------------------------------------------------------------------

void edge_state::on_peer(const peer_up& news) {
  if (news.who.kind == role::conductor)
    on_conductor(news);
  else if (news.who.kind == role::transport)
    on_transport(news);
}

void edge_state::on_conductor(const peer_up& news) {
  if (news.handle && (!conductor_ || conductor_->who.incarnation < news.who.incarnation)) {
    conductor_ = news;
    ask_conductor([] {});
  } else if (!news.handle && conductor_ && conductor_->who == news.who) {
    conductor_.reset();
  } else {
    return;
  }
  view_.cluster.reset();
  publish_health();
}

void edge_state::on_transport(const peer_up& news) {
  auto node = news.who.node;
  auto at = transports_.find(node);
  auto known = at != transports_.end();
  if (news.handle && (!known || at->second.who.incarnation < news.who.incarnation)) {
    transports_[node] = news;
    view_.transports.erase(node);
  } else if (!news.handle && known && at->second.who == news.who) {
    transports_.erase(at);
    view_.transports.erase(node);
  }
}

void edge_state::refresh() {
  // One that is silent must not pile up questions.
  if (!std::exchange(refreshing_, true))
    ask_all([this] { refreshing_ = false; });
  self_->delayed_send(self_, options_.refresh, atom::tick_v);
}

void edge_state::ask_all(const callback& then) {
  auto open = std::make_shared<size_t>(3 + transports_.size());
  auto done = [open, then] {
    if (--*open == 0)
      then();
  };
  ask_conductor(done);
  ask_session(done);
  for (const auto& [node, of] : transports_)
    ask_transport(of, done);
  done();
}

void edge_state::ask_conductor(const callback& then) {
  if (!conductor_)
    return then();
  auto take = [this, then, who = conductor_->who](std::optional<cluster_status> answer) {
    if (conductor_ && conductor_->who == who) {
      view_.cluster = std::move(answer);
      publish_health();
    }
    then();
  };
  self_->request(conductor_->handle, options_.query_timeout, atom::get_status_v)
    .then([take](const cluster_status& answer) { take(answer); }, [take](const caf::error&) { take(std::nullopt); });
}

void edge_state::ask_session(const callback& then) {
  if (!session_alive_)
    return then();
  auto take = [this, then](std::optional<session_status> answer) {
    view_.session = std::move(answer);
    publish_health();
    then();
  };
  self_->request(options_.session, options_.query_timeout, atom::get_status_v)
    .then([take](const session_status& answer) { take(answer); }, [take](const caf::error&) { take(std::nullopt); });
}

void edge_state::ask_transport(const peer_up& of, const callback& then) {
  auto take = [this, then, who = of.who](std::optional<transport_status> answer) {
    auto at = transports_.find(who.node);
    // Counters that were right a moment ago say more than none.
    if (answer && at != transports_.end() && at->second.who == who)
      view_.transports[who.node] = *answer;
    then();
  };
  self_->request(of.handle, options_.query_timeout, atom::get_status_v)
    .then([take](const transport_status& answer) { take(answer); }, [take](const caf::error&) { take(std::nullopt); });
}

void edge_state::publish_health() {
  shared_->set_health(health_of(view_));
}

// -- questions --------------------------------------------------------------------------------------------------------

void edge_state::ask_decision(uint64_t number, std::function<void(bool)> then) {
  if (!conductor_)
    return then(false);
  const auto& request = table_.log().find(number)->request;
  self_->request(conductor_->handle, options_.query_timeout, atom::get_decision_v, request.session, request.number)
    .then(
      [this, number, then](const decision_record& answer) {
        if (auto* record = table_.log().find(number))
          record->decision = answer;
        then(true);
      },
      [then](const caf::error& why) { then(why == caf::sec::no_such_key); });
}

std::vector<request_record> edge_state::placed(const std::vector<uint64_t>& numbers) {
  auto found = std::vector<request_record>{};
  for (auto number : numbers)
    if (const auto* record = table_.log().find(number))
      if (record->decision && record->decision->decision.what == verdict::place)
        found.push_back(*record);
  return found;
}

void edge_state::answer_cluster(const std::function<void(std::string)>& reply) {
  auto numbers = table_.log().newest(recent_max);
  auto open = std::make_shared<size_t>(1 + numbers.size());
  auto done = [this, reply, numbers, open] {
    if (--*open == 0)
      reply(cluster_json(view_, placed(numbers)));
  };
  for (auto number : numbers)
    if (is_final(*table_.log().find(number)))
      done();
    else
      ask_decision(number, [done](bool) { done(); });
  ask_all(done);
}

void edge_state::answer_metrics(const std::function<void(std::vector<gateway::metric_family>)>& reply) {
  ask_all([this, reply] { reply(cluster_families(view_)); });
}

void edge_state::answer_request(const std::string& id, const std::function<void(std::optional<std::string>)>& reply) {
  auto number = table_.log().number_of(id);
  if (number == 0)
    return reply(std::nullopt);
  auto done = [this, reply, number](bool answered) {
    const auto* record = table_.log().find(number);
    if (record && record->decision)
      reply(decision_json(*record));
    else if (answered || !record)
      reply(std::nullopt);
    // Otherwise nobody knows, and the gateway says so after its own timeout.
  };
  if (is_final(*table_.log().find(number)))
    done(true);
  else
    ask_decision(number, done);
}

} // namespace perigee::cli
