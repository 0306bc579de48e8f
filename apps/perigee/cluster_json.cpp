// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/cluster_json.hpp"

#include "apps/perigee/route_json.hpp"

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

json::object recent_object(const request_record& record) {
  const auto& made = *record.decision;
  auto out = json::object{{"request", record.id},
                          {"attempt", made.id.attempt},
                          {"prefill", instance_name(role::prefill, made.decision.chosen.prefill)},
                          {"decode", instance_name(role::decode, made.decision.decode)},
                          {"prompt_tokens", record.prompt_tokens}};
  for (auto index : made.decision.stages)
    out.emplace("stages", json::array{}).first->value().as_array().push_back(json::value(instance_name(role::prefill, index)));
  if (record.cached_tokens)
    out["cached_tokens"] = *record.cached_tokens;
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
  root["query"] = query_json(made.query);
  root["decision"] = route_json(made.decision);
  return json::serialize(root);
}

} // namespace perigee::cli
