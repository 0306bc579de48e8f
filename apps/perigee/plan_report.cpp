// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/plan_report.hpp"

#include "apps/perigee/text_table.hpp"

#include <boost/json/array.hpp>

#include <fmt/format.h>

namespace perigee::cli {

std::string render_plan(const plan_outcome& outcome) {
  auto table = text_table{{"NODES", "PREFILL", "DECODE", "POLICY", "ADMISSION", "CACHE TOKENS", "CAPACITY",
                           "REQUESTS/s", "PER NODE", "EFFECTIVE"}};
  for (const auto& point : outcome.points) {
    auto rate = point.capacity * outcome.requests_per_second;
    table.add({std::to_string(point.nodes), std::to_string(point.choice.prefills), std::to_string(point.choice.decodes),
               outcome.policies.at(point.choice.policy), outcome.admissions.at(point.choice.admission),
               std::to_string(outcome.cache_tokens.at(point.choice.cache)),
               point.capacity > 0 ? fmt::format("{:.2f}x", point.capacity) : "-", fmt::format("{:.2f}", rate),
               fmt::format("{:.2f}", rate / point.nodes), fmt::format("{:.1f} %", 100 * point.effective)});
  }
  return table.text()
         + fmt::format("\nCapacity is the highest speed at which {:.0f} % of {} requests are effective; {} runs.\n",
                       100 * outcome.target, outcome.requests, outcome.runs);
}

boost::json::object plan_json(const plan_outcome& outcome) {
  auto frontier = boost::json::array{};
  for (const auto& point : outcome.points)
    frontier.push_back({{"nodes", point.nodes},
                        {"prefill", point.choice.prefills},
                        {"decode", point.choice.decodes},
                        {"policy", outcome.policies.at(point.choice.policy)},
                        {"admission", outcome.admissions.at(point.choice.admission)},
                        {"cache_tokens", outcome.cache_tokens.at(point.choice.cache)},
                        {"capacity", point.capacity},
                        {"requests_per_s", point.capacity * outcome.requests_per_second},
                        {"effective", point.effective}});
  return {{"target", outcome.target},
          {"requests", outcome.requests},
          {"runs", outcome.runs},
          {"frontier", std::move(frontier)}};
}

} // namespace perigee::cli
