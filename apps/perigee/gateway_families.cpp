// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/gateway_families.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace perigee::cli {

namespace {

using gateway::label_list;
using gateway::metric_family;
using gateway::metric_type;

/// One family that grows sample by sample.
class family {
public:
  family(metric_type type, std::string_view name, std::string_view help)
    : out_{std::string{name}, std::string{help}, type, {}} {}

  void add(label_list labels, double value) {
    out_.samples.push_back({std::move(labels), value});
  }
  void move_into(std::vector<metric_family>& all) {
    if (!out_.samples.empty())
      all.push_back(std::move(out_));
  }

private:
  metric_family out_;
};

family gauge_family(std::string_view name, std::string_view help) {
  return {metric_type::gauge, name, help};
}

family counter_family(std::string_view name, std::string_view help) {
  return {metric_type::counter, name, help};
}

double seconds(uint64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

label_list with(label_list labels, std::string name, std::string value) {
  labels.emplace_back(std::move(name), std::move(value));
  return labels;
}

void add_members(std::vector<metric_family>& all, const cluster_view& view) {
  auto up = gauge_family("perigee:member_up", "1 for an instance or shard that reports to the Conductor.");
  auto running = gauge_family("perigee:num_requests_running", "Requests an instance works on.");
  auto waiting = gauge_family("perigee:num_requests_waiting",
                              "Requests queued at an instance, and at the Conductor without a place.");
  auto usage =
    gauge_family("perigee:kv_cache_usage_perc", "Share of an instance's working pool in use; 1 is all of it.");
  auto slots = gauge_family("perigee:kv_slots", "Blocks of a pool by state; transfer: a write may still land there.");
  auto placed =
    gauge_family("perigee:requests_placed", "Requests the Conductor placed at an instance that have not ended there.");
  auto queue =
    gauge_family("perigee:predicted_queue_seconds", "When a prefill instance would start a request placed now.");
  auto reserved =
    gauge_family("perigee:kv_tokens_reserved", "Tokens of KV that the Conductor reserved at a decode instance.");
  auto indexed = gauge_family("perigee:prefix_index_blocks", "Blocks of a shard that the Conductor can find.");
  auto leases = gauge_family("perigee:shard_leases", "Blocks of a shard pinned by readers.");
  for (const auto& member : view.cluster->members) {
    const auto& last = member.last;
    auto labels = label_list{
      {"model_name", view.model}, {"instance", name_of(member.who)}, {"node", view.node_name(member.who.node)}};
    up.add(labels, member.alive);
    slots.add(with(labels, "state", "total"), last.slots_total);
    slots.add(with(labels, "state", "free"), last.slots_free);
    slots.add(with(labels, "state", "transfer"), last.slots_transfer);
    if (member.who.kind == role::shard) {
      indexed.add(labels, static_cast<double>(member.blocks));
      leases.add(labels, last.leases);
      continue;
    }
    running.add(labels, last.running);
    waiting.add(labels, last.waiting);
    placed.add(labels, member.placed);
    auto used = last.slots_total - std::min(last.slots_total, last.slots_free);
    usage.add(labels, last.slots_total == 0 ? 0.0 : static_cast<double>(used) / last.slots_total);
    if (member.who.kind == role::prefill)
      queue.add(labels, seconds(member.queue_ns));
    else
      reserved.add(labels, static_cast<double>(member.tokens_reserved));
  }
  const auto& conductor = view.cluster->conductor;
  waiting.add({{"model_name", view.model}, {"instance", name_of(conductor)}, {"node", view.node_name(conductor.node)}},
              view.cluster->waiting);
  for (auto* one : {&up, &running, &waiting, &usage, &slots, &placed, &queue, &reserved, &indexed, &leases})
    one->move_into(all);
}

void add_conductor(std::vector<metric_family>& all, const cluster_view& view) {
  const auto& cluster = *view.cluster;
  auto add = [&](family one, uint64_t value) {
    one.add({{"model_name", view.model}}, static_cast<double>(value));
    one.move_into(all);
  };
  add(gauge_family("perigee:conductor_term", "Number of the Conductor's reign."), cluster.term);
  add(counter_family("perigee:placements_total", "Requests the Conductor placed."), cluster.placements);
  add(counter_family("perigee:rejections_total", "Requests the Conductor refused."), cluster.rejections);
  add(counter_family("perigee:redirections_total", "Decode sides that were placed again."), cluster.redirections);
}

void add_session(std::vector<metric_family>& all, const cluster_view& view) {
  auto add = [&](family one, uint64_t value) {
    one.add({{"model_name", view.model}}, static_cast<double>(value));
    one.move_into(all);
  };
  add(gauge_family("perigee:session_requests_open", "Requests of this gateway that have not ended."),
      view.session->open);
  add(gauge_family("perigee:session_requests_unplaced", "Requests of this gateway that no instance has."),
      view.session->waiting);
  add(counter_family("perigee:session_requests_total", "Requests this gateway's session took."),
      view.session->requests);
  add(counter_family("perigee:requests_resubmitted_total", "Attempts that were started over."),
      view.session->resubmitted);
}

void add_transfers(std::vector<metric_family>& all, const cluster_view& view) {
  auto bytes = counter_family("perigee:kv_transfer_bytes_total",
                              "KV bytes moved, by libfabric (fabric) or inside a process (copy).");
  auto failed = counter_family("perigee:kv_transfer_failures_total", "KV transfers that failed.");
  auto fences =
    counter_family("perigee:fabric_fences_total", "Peers that were cut off before their memory was reused.");
  auto in_flight = gauge_family("perigee:kv_transfers_in_flight", "KV transfers that have not completed.");
  for (const auto& [node, counters] : view.transports) {
    auto labels = label_list{{"node", view.node_name(node)}};
    bytes.add({{"path", "fabric"}, labels.front()}, static_cast<double>(counters.provider_bytes));
    bytes.add({{"path", "copy"}, labels.front()}, static_cast<double>(counters.copied_bytes));
    failed.add(labels, static_cast<double>(counters.failed_transfers));
    fences.add(labels, static_cast<double>(counters.fences));
    in_flight.add(labels, counters.in_flight);
  }
  for (auto* one : {&bytes, &failed, &fences, &in_flight})
    one->move_into(all);
}

} // namespace

std::vector<metric_family> cluster_families(const cluster_view& view) {
  auto all = std::vector<metric_family>{};
  if (view.cluster) {
    add_members(all, view);
    add_conductor(all, view);
  }
  if (view.session)
    add_session(all, view);
  add_transfers(all, view);
  return all;
}

} // namespace perigee::cli
