// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace perigee::sim {

/// A time that never came, or a request that a slice does not belong to.
inline constexpr uint64_t never_ns = UINT64_MAX;
inline constexpr uint64_t no_request = UINT64_MAX;
inline constexpr uint32_t no_instance = UINT32_MAX;

/// One request of a run, as reports show it. Times count from the trace's start; what did not happen, or is not known,
/// is `never_ns`.
struct run_request {
  uint64_t id = 0;
  uint64_t arrival_ns = 0;
  uint64_t placed_ns = never_ns; ///< the Conductor's decision
  uint64_t prefill_begin_ns = never_ns;
  uint64_t prefill_end_ns = never_ns;
  uint64_t transfer_end_ns = never_ns; ///< the hand-over to the decode instance
  uint64_t joined_ns = never_ns;       ///< the decode batch
  uint64_t first_token_ns = never_ns;
  uint64_t end_ns = never_ns; ///< of whatever kind
  uint64_t ttft_ns = never_ns;
  uint64_t tbt_ns = never_ns;     ///< mean of the longest 10 % of its token gaps
  uint32_t prefill = no_instance; ///< index into `run_record::instances`
  uint32_t decode = no_instance;
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  uint32_t reused_tokens = 0; ///< of the input, not computed
  std::string rejected;       ///< why it got no answer; empty if it did
};

enum class instance_role : uint8_t { prefill, decode };

struct run_instance {
  std::string name;
  instance_role role = instance_role::prefill;
};

enum class slice_kind : uint8_t {
  chunk,     ///< of a prompt, on a prefill instance
  steps,     ///< decode steps one after another, on a decode instance
  fetch,     ///< prefix KV comes to a prefill instance
  hand_over, ///< KV comes to a decode instance
};

/// Work of one instance for the timeline. Chunks and steps of one instance do not overlap each other; transfers may.
struct run_slice {
  slice_kind kind = slice_kind::chunk;
  uint32_t instance = 0; ///< where it runs or arrives
  uint64_t begin_ns = 0;
  uint64_t end_ns = 0;
  uint64_t request = no_request; ///< `run_request::id`; none for steps, and where nobody knows
  uint64_t tokens = 0;           ///< computed, generated or moved
  uint32_t steps = 0;            ///< that were merged
  uint32_t rows = 0;             ///< requests in the batch, at most
};

/// Copies of one block in the cluster: the count from each time on.
struct hot_block {
  std::string name;
  std::vector<std::pair<uint64_t, uint32_t>> replicas; ///< rising times in ns
};

/// One run, as reports show it: a neutral copy that knows neither actors nor worlds.
struct run_record {
  std::string name; ///< what tells it from the others: "perigee, early, 2x"
  std::vector<run_instance> instances;
  std::vector<run_request> requests; ///< by arrival
  std::vector<run_slice> slices;     ///< in any order; only the timeline needs them
  std::vector<hot_block> hot_blocks;
  std::vector<double> summary; ///< one value for each `summary_column`
};

/// One column of the table that compares runs.
struct summary_column {
  enum class better : uint8_t { neither, low, high };

  std::string title;
  std::string unit; ///< may be empty
  int decimals = 0;
  better best = better::neither; ///< the best value of the column is marked
};

} // namespace perigee::sim
