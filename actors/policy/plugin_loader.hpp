// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace perigee {

struct policy_plugin;

/// Loads a shared library (a path, from the working directory) and adds the policies it offers to the registry; returns what is
/// wrong with it, in one sentence that names the file. A library that was accepted stays loaded until the process ends: its
/// code runs in actors. Part of the set-up of a process: before its first actor system, from one thread.
std::optional<std::string> load_policy_plugin(const std::string& file);

/// Adds the policies of a plugin, all or none; returns what is wrong with it, in one sentence. `plugin` is what messages call it.
/// Once more does nothing. Part of the set-up of a process: before its first actor system, from one thread.
std::optional<std::string> add_policy_plugin(const policy_plugin& offered, const std::string& plugin);

} // namespace perigee
