// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/cluster_json.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <cassert>

namespace perigee::cli {

namespace {

namespace json = boost::json;

json::object conductor_object(const cluster_view& view, const cluster_status& cluster) {
  return {{"node", view.node_name(cluster.conductor.node)},
          {"incarnation", cluster.conductor.incarnation},
          {"term", cluster.term},
          {"policy", cluster.policy},
          {"waiting", cluster.waiting},
          {"placements", cluster.placements},
          {"rejections", cluster.rejections},
          {"redirections", cluster.redirections}};
}

json::object member_object(const cluster_view& view, const member_status& member) {
  return {{"name", name_of(member.who)},
          {"role", to_string(member.who.kind)},
          {"index", member.who.index},
          {"node", view.node_name(member.who.node)},
          {"incarnation", member.who.incarnation},
          {"alive", member.alive}};
}

json::object instance_object(const cluster_view& view, const member_status& member) {
  auto out = member_object(view, member);
  out["slots_total"] = member.last.slots_total;
  out["slots_free"] = member.last.slots_free;
  out["slots_transfer"] = member.last.slots_transfer;
  out["running"] = member.last.running;
  out["waiting"] = member.last.waiting;
  out["placed"] = member.placed;
  out["tokens_capacity"] = member.last.token_capacity;
  if (member.who.kind == role::prefill) {
    out["tokens_queued"] = member.last.queued_tokens;
    out["queue_ns"] = member.queue_ns;
  } else {
    out["tokens_reserved"] = member.tokens_reserved;
  }
  return out;
}

json::object shard_object(const cluster_view& view, const member_status& member) {
  auto out = member_object(view, member);
  out["blocks_total"] = member.last.slots_total;
  out["blocks_used"] = member.last.slots_total - std::min(member.last.slots_total, member.last.slots_free);
  out["blocks_transfer"] = member.last.slots_transfer;
  out["blocks_indexed"] = member.blocks;
  out["leases"] = member.last.leases;
  return out;
}

json::object session_object(const session_status& session) {
  return {{"open", session.open},
          {"waiting", session.waiting},
          {"requests", session.requests},
          {"resubmitted", session.resubmitted},
          {"prompt_tokens", session.prompt_tokens},
          {"cached_tokens", session.cached_tokens}};
}

json::object transfer_object(const transport_status& counters) {
  return {{"provider_bytes", counters.provider_bytes},
          {"copied_bytes", counters.copied_bytes},
          {"failed_transfers", counters.failed_transfers},
          {"fences", counters.fences},
          {"in_flight", counters.in_flight}};
}

std::string instance_name(role kind, uint32_t index) {
  return name_of({kind, index, 0, 0});
}

json::object recent_object(const request_record& record) {
  const auto& made = *record.decision;
  auto out = json::object{{"request", record.id},
                          {"attempt", made.id.attempt},
                          {"prefill", instance_name(role::prefill, made.decision.chosen.prefill)},
                          {"decode", instance_name(role::decode, made.decision.decode)},
                          {"prompt_tokens", record.prompt_tokens}};
  if (record.cached_tokens)
    out["cached_tokens"] = *record.cached_tokens;
  return out;
}

std::string_view name_of(verdict what) {
  switch (what) {
  case verdict::place: return "place";
  case verdict::hold: return "hold";
  case verdict::reject: return "reject";
  }
  return "unknown";
}

json::object offer_object(const route_offer& offer) {
  return {{"prefill", instance_name(role::prefill, offer.prefill)},
          {"score", offer.score},
          {"ttft_ns", offer.ttft_ns},
          {"queue_ns", offer.queue_ns},
          {"transfer_ns", offer.transfer_ns},
          {"prefill_ns", offer.prefill_ns},
          {"own_blocks", offer.own_blocks},
          {"fetch_blocks", offer.fetch_blocks}};
}

json::object query_object(const route_query& query) {
  auto candidates = json::array{};
  for (const auto& one : query.candidates)
    candidates.push_back(json::object{{"prefill", instance_name(role::prefill, one.index)},
                                      {"own_blocks", one.own_blocks},
                                      {"prefill_own_ns", one.prefill_own_ns}});
  auto decodes = json::array{};
  for (auto index : query.decodes)
    decodes.emplace_back(instance_name(role::decode, index));
  return {{"prompt_tokens", query.prompt_tokens},     {"max_tokens", query.max_tokens},
          {"block_tokens", query.block_tokens},       {"best_blocks", query.best_blocks},
          {"prefill_best_ns", query.prefill_best_ns}, {"transfer_ns_block", query.transfer_ns_block},
          {"source_backlog_ns", query.source_backlog_ns},
          {"tenant", query.tenant},                   {"arrived_ns", query.arrived_ns},
          {"expected_output", query.expected_output}, {"held", query.held},
          {"candidates", std::move(candidates)},      {"decodes", std::move(decodes)}};
}

json::object decision_object(const route_decision& decision) {
  auto out = json::object{{"verdict", name_of(decision.what)}, {"view", decision.view}};
  switch (decision.what) {
  case verdict::place:
    out["chosen"] = offer_object(decision.chosen);
    out["decode"] = instance_name(role::decode, decision.decode);
    break;
  case verdict::hold:
    out["sort_key"] = decision.sort_key;
    out["ask_again_ns"] = decision.ask_again_ns;
    break;
  case verdict::reject: out["reason"] = to_string(decision.reason); break;
  }
  auto best = json::array{};
  for (const auto& offer : decision.best)
    best.push_back(offer_object(offer));
  out["best"] = std::move(best);
  return out;
}

} // namespace

std::string cluster_json(const cluster_view& view, std::span<const request_record> recent) {
  auto root = json::object{{"model", view.model}, {"version", PERIGEE_VERSION}};
  if (view.cluster) {
    auto instances = json::array{};
    auto shards = json::array{};
    for (const auto& member : view.cluster->members)
      if (member.who.kind == role::shard)
        shards.push_back(shard_object(view, member));
      else
        instances.push_back(instance_object(view, member));
    root["conductor"] = conductor_object(view, *view.cluster);
    root["instances"] = std::move(instances);
    root["shards"] = std::move(shards);
  }
  if (view.session)
    root["sessions"] = session_object(*view.session);
  if (!view.transports.empty()) {
    auto nodes = json::array{};
    for (const auto& [node, counters] : view.transports) {
      auto one = transfer_object(counters);
      one["node"] = view.node_name(node);
      nodes.push_back(std::move(one));
    }
    root["transfer"] = transfer_object(view.transfers());
    root["transfers"] = std::move(nodes);
  }
  auto decisions = json::array{};
  for (const auto& record : recent)
    decisions.push_back(recent_object(record));
  root["decisions"] = std::move(decisions);
  return json::serialize(root);
}

std::string decision_json(const request_record& record) {
  assert(record.decision);
  const auto& made = *record.decision;
  auto root = json::object{{"request", record.id},       {"ticket", to_string(made.id)},
                           {"attempt", made.id.attempt}, {"placement", made.query.placement},
                           {"at_ns", made.at_ns},        {"prompt_tokens", record.prompt_tokens}};
  if (record.cached_tokens)
    root["cached_tokens"] = *record.cached_tokens;
  root["policy"] = made.policy;
  root["query"] = query_object(made.query);
  root["decision"] = decision_object(made.decision);
  return json::serialize(root);
}

} // namespace perigee::cli
