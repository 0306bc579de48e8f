// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/ids.hpp"
#include "actors/sim/replay/metrics.hpp"
#include "actors/sim/report/run_record.hpp"
#include "actors/sim/trace/trace.hpp"
#include "transport/base/block_key.hpp"

#include <caf/fwd.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace perigee::sim {

/// Watches one replay from outside, for its reports: it is told, and never asked, so a run with it has the same digest
/// as one without. Times given to it are those of the world's clock. One recorder is for one run.
class run_recorder {
public:
  /// With `slices` it keeps what the timeline needs.
  explicit run_recorder(bool slices) : slices_wanted_(slices) {}

  /// Instances are numbered prefill first; node `first_node` + n is that of instance n.
  void begin(uint64_t start_ns, uint32_t prefills, uint32_t decodes, uint32_t first_node,
             std::span<const trace_request> trace);

  // By the clients.
  void opened(uint64_t client, const request_id& request);
  void ended(uint64_t client, uint64_t now_ns);

  /// By the links: a control message sets out from one node to another.
  void passed(const caf::message& what, uint64_t now_ns);

  /// By a prefill device: a chunk runs from `begin_ns` to `end_ns`. `prompt` is any number that the chunks of a prompt
  /// share; `fresh`: the first of them. Only the last one tells its client, and none of a stage that runs some layers.
  void chunk(uint32_t instance, uint32_t prompt, bool fresh, uint64_t begin_ns, uint64_t end_ns, uint64_t tokens,
             std::optional<uint64_t> client);
  /// By a decode device. Steps of equal batches without a gap become one slice.
  void step(uint32_t instance, uint64_t begin_ns, uint64_t end_ns, uint32_t rows);

  /// By the network: a flow to a node has ended.
  void fetched(uint32_t to_node, uint64_t begin_ns, uint64_t end_ns, double tokens);
  void handed_over(uint32_t to_node, uint32_t immediate, uint64_t begin_ns, uint64_t end_ns, double tokens);

  /// Between two messages, now and then: how many caches hold each of the hottest blocks, as `replicas` says.
  using count_replicas = std::function<uint32_t(uint64_t block)>;
  void sample(uint64_t now_ns, const count_replicas& replicas);
  bool sample_due(uint64_t now_ns) const {
    return now_ns >= next_sample_ns_;
  }

  /// After the run, once: what was seen, and what became of each request.
  run_record finish(std::span<const request_record> records);

private:
  struct chunks {
    uint64_t begin_ns = 0;
    std::vector<run_slice> slices;
  };

  uint64_t since_start(uint64_t now_ns) const {
    return now_ns - std::min(now_ns, start_ns_);
  }
  run_request* find(const request_id& request);
  std::optional<uint64_t> stage_of(uint32_t instance, uint32_t prompt) const;
  void keep(chunks& of, uint64_t client);
  void choose_hot_blocks(std::span<const trace_request> trace);

  const bool slices_wanted_;
  uint64_t start_ns_ = 0;
  uint32_t first_node_ = 0;
  run_record record_;
  std::map<request_id, uint64_t> clients_;
  std::map<std::pair<uint32_t, uint32_t>, chunks> open_chunks_;  ///< by instance and prompt
  std::map<std::pair<uint32_t, uint64_t>, uint32_t> stages_;     ///< prompt by instance and client
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> immediates_; ///< client by decode node and immediate
  std::map<uint64_t, size_t> hand_overs_;                        ///< slice by client
  std::vector<std::optional<size_t>> last_steps_;                ///< slice by instance
  std::vector<uint64_t> hot_ids_;
  uint64_t sample_every_ns_ = 0;
  uint64_t next_sample_ns_ = UINT64_MAX;
};

} // namespace perigee::sim
