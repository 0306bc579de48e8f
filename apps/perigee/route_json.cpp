// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/route_json.hpp"

#include <boost/json/array.hpp>

#include <string_view>

namespace perigee::cli {

namespace json = boost::json;

std::string instance_name(role kind, uint32_t index) {
  return name_of({kind, index, 0, 0});
}

namespace {

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

} // namespace

json::object query_json(const route_query& query) {
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

json::object route_json(const route_decision& decision) {
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
  case verdict::reject:
    out["reason"] = to_string(decision.reason);
    if (decision.chosen.ttft_ns > 0) // where it would have gone
      out["chosen"] = offer_object(decision.chosen);
    break;
  }
  auto best = json::array{};
  for (const auto& offer : decision.best)
    best.push_back(offer_object(offer));
  out["best"] = std::move(best);
  return out;
}

} // namespace perigee::cli
