// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace perigee::sim {

/// Adds policies to the registry that have the faults of which the scenes are about, so that a scene can show that it
/// would notice them. To be called before the first world.
void add_broken_policies();

} // namespace perigee::sim
