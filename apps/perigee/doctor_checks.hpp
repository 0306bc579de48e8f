// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace perigee::cli {

enum class verdict { ok, warn, fail };

std::string_view to_string(verdict what) noexcept;

/// What one check found: about what, and in one line the value found and what to do about it.
struct finding {
  verdict result = verdict::ok;
  std::string about;
  std::string detail;
};

using findings = std::vector<finding>;

/// Vector instructions and cores.
void check_processor(findings& out);

/// Locked memory, huge pages, open files; with a configuration also whether its nodes on this machine fit into memory.
void check_limits(const actors::cluster_config* config, findings& out);

/// The libfabric providers that offer what KV transfers need, and whether `wanted` is one.
void check_providers(const std::string& wanted, findings& out);

/// The model's files.
void check_model(const actors::cluster_config& config, findings& out);

/// Whether the ports of the nodes on this machine can be listened on, and whether the hosts of all others have an
/// address.
void check_network(const actors::cluster_config& config, findings& out);

/// Moves blocks over the provider between two endpoints of this process, beside a plain copy of memory.
void check_transfer(const std::string& provider, findings& out);

} // namespace perigee::cli
