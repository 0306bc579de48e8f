// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace perigee {

/// A number higher than any this node had before: max(the one kept on disk + 1, the present time in microseconds). An edge: reads
/// the wall clock and a small file under the user's state folder ($XDG_STATE_HOME/perigee); where that cannot be written the
/// clock alone decides. `node` names the file.
uint64_t next_incarnation(const std::string& node);

/// 64 bits from the system's entropy, for seeds that nobody chose.
uint64_t random_seed();

} // namespace perigee
