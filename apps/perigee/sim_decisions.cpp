// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_decisions.hpp"

#include "apps/perigee/route_json.hpp"
#include "transport/base/status.hpp"

#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace perigee::cli {

sim_decisions::sim_decisions(const std::string& path) : path_(path) {
  if (path.empty())
    return;
  file_.emplace(path, std::ios::binary);
  if (!*file_)
    throw failure(errc::io_error, fmt::format("--decisions: {} cannot be written ({})", path, std::strerror(errno)));
}

void sim_decisions::add(const sim_run& run, const decision_record& decision, uint64_t start_ns) {
  *file_ << decision_line(run, decision, start_ns) << '\n';
}

void sim_decisions::close() {
  if (!file_)
    return;
  file_->flush();
  if (!*file_)
    throw failure(errc::io_error,
                  fmt::format("--decisions: {} could not be written to its end; is the disk full?", path_));
}

std::string decision_line(const sim_run& run, const decision_record& decision, uint64_t start_ns) {
  auto query = query_json(decision.query);
  // Only the offers are kept of the instances there were.
  query.erase("candidates");
  query.erase("decodes");
  query["arrived_ns"] = decision.query.arrived_ns - start_ns;
  auto line = boost::json::object{{"policy", run.policy},
                                  {"admission", run.admission},
                                  {"eviction", to_string(run.evicts)},
                                  {"speed", run.speed},
                                  {"seed", run.seed},
                                  {"request", decision.id.request.number},
                                  {"attempt", decision.id.attempt},
                                  {"at_ns", decision.at_ns - start_ns},
                                  {"query", std::move(query)},
                                  {"decision", route_json(decision.decision)}};
  return boost::json::serialize(line);
}

} // namespace perigee::cli
