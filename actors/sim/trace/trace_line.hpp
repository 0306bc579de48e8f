// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/trace/trace.hpp"

#include <string>
#include <string_view>

namespace perigee::sim {

/// Reads one line of a trace into `request`, whose memory is used again. Returns what is wrong with the line on its own
/// (the field, the value found, the value allowed), or an empty text.
std::string parse_trace_line(std::string_view line, trace_request& request);

} // namespace perigee::sim
