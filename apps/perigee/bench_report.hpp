// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/bench.hpp"
#include "transport/bench.hpp"

#include <boost/json/value.hpp>

#include <string>
#include <vector>

namespace perigee::cli {

// What `perigee bench` measured, as tables for people and as JSON for programs.

std::string render_bench(const kernels::bench_result& result);
std::string render_bench(const transport::bench_result& result);

boost::json::value bench_json(const kernels::bench_result& result);
boost::json::value bench_json(const std::vector<transport::bench_result>& results);

} // namespace perigee::cli
