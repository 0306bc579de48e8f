// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cache/shard_core.hpp"
#include "actors/conductor/conductor_core.hpp"
#include "actors/decode/decode_core.hpp"
#include "actors/prefill/prefill_core.hpp"
#include "actors/session/session_core.hpp"

#include <functional>
#include <string>
#include <vector>

namespace perigee::sim {

/// What lives in a simulated cluster, read from outside: a place is an index, null where nobody lives.
struct cluster_cores {
  const conductor_core* conductor = nullptr;
  std::vector<const session_core*> sessions;
  std::vector<const prefill_core*> prefills;
  std::vector<const decode_core*> decodes;
  std::vector<const shard_core*> shards;
};

/// Gets a sentence for each thing that is wrong.
using problem_sink = std::function<void(std::string)>;

/// I1, at any time: the slots of each pool add up, and what instances read at shards is pinned there.
void check_accounts(const cluster_cores& cores, const problem_sink& problem);

/// I7, once nothing happens any more: the prefix index is the shards' truth.
void check_index(const cluster_cores& cores, const problem_sink& problem);

/// I5, once nothing is under way: nobody holds a request, a slot, a lease or a reservation.
void check_books(const cluster_cores& cores, const problem_sink& problem);

} // namespace perigee::sim
