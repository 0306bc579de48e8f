// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_lines.hpp"

#include "apps/perigee/route_json.hpp"
#include "transport/base/status.hpp"

#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace perigee::cli {

namespace {

/// Which run it was.
boost::json::object run_fields(const sim_run& run) {
  return {{"policy", run.policy},
          {"admission", run.admission},
          {"eviction", to_string(run.evicts)},
          {"speed", run.speed},
          {"seed", run.seed}};
}

} // namespace

sim_lines::sim_lines(std::string flag, std::string path) : flag_(std::move(flag)), path_(std::move(path)) {
  if (path_.empty())
    return;
  file_.emplace(path_, std::ios::binary);
  if (!*file_)
    throw failure(errc::io_error, fmt::format("{}: {} cannot be written ({})", flag_, path_, std::strerror(errno)));
}

void sim_lines::add(const std::string& line) {
  *file_ << line << '\n';
}

void sim_lines::close() {
  if (!file_)
    return;
  file_->flush();
  if (!*file_)
    throw failure(errc::io_error,
                  fmt::format("{}: {} could not be written to its end; is the disk full?", flag_, path_));
}

std::string decision_line(const sim_run& run, const decision_record& decision, uint64_t start_ns) {
  auto query = query_json(decision.query);
  // Only the offers are kept of the instances there were.
  query.erase("candidates");
  query.erase("decodes");
  query["arrived_ns"] = decision.query.arrived_ns - start_ns;
  auto line = run_fields(run);
  line["request"] = decision.id.request.number;
  line["attempt"] = decision.id.attempt;
  line["at_ns"] = decision.at_ns - start_ns;
  line["query"] = std::move(query);
  line["decision"] = route_json(decision.decision);
  return boost::json::serialize(line);
}

std::string outcome_line(const sim_run& run, size_t number, const sim::request_record& record) {
  auto line = run_fields(run);
  line["request"] = number;
  line["arrival_ns"] = record.arrival_ns;
  line["finished"] = record.finished;
  if (!record.finished)
    line["error"] = to_string(record.error);
  line["input_tokens"] = record.input_tokens;
  line["cached_tokens"] = record.cached_tokens;
  line["output_tokens"] = record.output_tokens;
  line["ttft_ns"] = record.ttft_ns;
  line["last_token_ns"] = record.last_token_ns;
  line["tbt_ns"] = record.tbt_ns;
  return boost::json::serialize(line);
}

} // namespace perigee::cli
