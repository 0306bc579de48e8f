// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/status_report.hpp"

#include "apps/perigee/text_table.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <string_view>

namespace perigee::cli {

namespace {

namespace json = boost::json;

/// A field as a cell; "-" where it is absent.
std::string cell(const json::object& from, std::string_view name) {
  auto* found = from.if_contains(name);
  if (found == nullptr || found->is_null())
    return "-";
  if (auto* text = found->if_string())
    return std::string{*text};
  if (auto* flag = found->if_bool())
    return *flag ? "yes" : "no";
  return json::serialize(*found);
}

uint64_t number(const json::object& from, std::string_view name) {
  auto* found = from.if_contains(name);
  auto error = json::error_code{};
  auto value = found == nullptr ? 0 : found->to_number<uint64_t>(error);
  return error ? 0 : value;
}

const json::array* list(const json::object& from, std::string_view name) {
  auto* found = from.if_contains(name);
  return found == nullptr ? nullptr : found->if_array();
}

const json::object* section(const json::object& from, std::string_view name) {
  auto* found = from.if_contains(name);
  return found == nullptr ? nullptr : found->if_object();
}

std::string share(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.0f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string state(const json::object& item) {
  auto* alive = item.if_contains("alive");
  return alive != nullptr && alive->is_bool() && !alive->get_bool() ? "lost" : "up";
}

void add_head(std::string& out, const json::object& root) {
  out += fmt::format("model {}", cell(root, "model"));
  if (auto* conductor = section(root, "conductor"))
    out += fmt::format("; Conductor on node {} (term {}, policy {}): {} waiting, {} placed, {} rejected",
                       cell(*conductor, "node"), cell(*conductor, "term"), cell(*conductor, "policy"),
                       cell(*conductor, "waiting"), cell(*conductor, "placements"), cell(*conductor, "rejections"));
  out += '\n';
}

void add_instances(std::string& out, const json::array& instances) {
  auto table = text_table{
    {"INSTANCE", "NODE", "STATE", "RUNNING", "WAITING", "KV USED", "SLOTS", "FREE", "IN TRANSFER", "INCARNATION"}};
  for (const auto& entry : instances)
    if (auto* item = entry.if_object()) {
      auto total = number(*item, "slots_total");
      auto free = std::min(total, number(*item, "slots_free"));
      table.add({cell(*item, "name"), cell(*item, "node"), state(*item), cell(*item, "running"), cell(*item, "waiting"),
                 share(total - free, total), cell(*item, "slots_total"), cell(*item, "slots_free"),
                 cell(*item, "slots_transfer"), cell(*item, "incarnation")});
    }
  if (!table.empty())
    out += '\n' + table.text();
}

void add_shards(std::string& out, const json::array& shards) {
  auto table = text_table{{"SHARD", "NODE", "STATE", "CACHE USED", "BLOCKS", "USED", "LEASES", "INCARNATION"}};
  for (const auto& entry : shards)
    if (auto* item = entry.if_object())
      table.add({cell(*item, "name"), cell(*item, "node"), state(*item),
                 share(number(*item, "blocks_used"), number(*item, "blocks_total")), cell(*item, "blocks_total"),
                 cell(*item, "blocks_used"), cell(*item, "leases"), cell(*item, "incarnation")});
  if (!table.empty())
    out += '\n' + table.text();
}

void add_counters(std::string& out, const json::object& root) {
  if (auto* sessions = section(root, "sessions"))
    out +=
      fmt::format("\nrequests: {} open ({} without a place), {} so far, {} resubmitted; {} of {} prompt tokens from "
                  "the cache ({})\n",
                  cell(*sessions, "open"), cell(*sessions, "waiting"), cell(*sessions, "requests"),
                  cell(*sessions, "resubmitted"), cell(*sessions, "cached_tokens"), cell(*sessions, "prompt_tokens"),
                  share(number(*sessions, "cached_tokens"), number(*sessions, "prompt_tokens")));
  if (auto* transfer = section(root, "transfer"))
    out +=
      fmt::format("KV moved: {} bytes by libfabric, {} by copy in the process; {} in flight, {} failed, {} fences\n",
                  cell(*transfer, "provider_bytes"), cell(*transfer, "copied_bytes"), cell(*transfer, "in_flight"),
                  cell(*transfer, "failed_transfers"), cell(*transfer, "fences"));
}

void add_decisions(std::string& out, const json::array& decisions) {
  auto table = text_table{{"REQUEST", "ATTEMPT", "PREFILL", "DECODE", "PROMPT", "CACHED"}};
  for (const auto& entry : decisions)
    if (auto* item = entry.if_object())
      table.add({cell(*item, "request"), cell(*item, "attempt"), cell(*item, "prefill"), cell(*item, "decode"),
                 cell(*item, "prompt_tokens"), cell(*item, "cached_tokens")});
  if (!table.empty())
    out += "\nrecent decisions\n" + table.text();
}

} // namespace

std::string render_cluster(const json::value& cluster) {
  auto* root = cluster.if_object();
  if (root == nullptr)
    return "no cluster\n";
  auto out = std::string{};
  add_head(out, *root);
  if (auto* instances = list(*root, "instances"))
    add_instances(out, *instances);
  if (auto* shards = list(*root, "shards"))
    add_shards(out, *shards);
  add_counters(out, *root);
  if (auto* decisions = list(*root, "decisions"))
    add_decisions(out, *decisions);
  return out;
}

std::optional<std::string> render_loading(const std::string& body) {
  auto error = boost::json::error_code{};
  auto value = boost::json::parse(body, error);
  const auto* answer = error ? nullptr : value.if_object();
  const auto* status = answer ? answer->if_contains("status") : nullptr;
  const auto* detail = answer ? answer->if_contains("detail") : nullptr;
  if (!status || !detail || *status != "loading" || !detail->is_string())
    return std::nullopt;
  return fmt::format("loading: {}\n", std::string_view(detail->get_string()));
}

} // namespace perigee::cli
