// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/replay/replay_cluster.hpp"

#include <string>

namespace perigee::cli {

/// The profile that `--profile` names: the built-in one, or a JSON file (docs/simulation.md) that gives coefficients, or a
/// model and its hardware, or what `perigee bench engine --json` printed. Throws `usage_error` naming file, field, what
/// was found and what is allowed.
sim::replay_profile load_profile(const std::string& name_or_file);

/// The same from text; `name` is what messages call it.
sim::replay_profile parse_profile(const std::string& text, const std::string& name);

} // namespace perigee::cli
