// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace perigee::cli {

/// Bytes times the seconds for which they were held. Times only grow.
class byte_seconds {
public:
  void take(double now_s, uint64_t bytes) {
    pass(now_s);
    held_ += bytes;
  }
  void give_back(double now_s, uint64_t bytes) {
    pass(now_s);
    held_ -= bytes;
  }
  uint64_t held() const noexcept {
    return held_;
  }
  double total() const noexcept {
    return total_;
  }

private:
  void pass(double now_s) {
    total_ += static_cast<double>(held_) * (now_s - last_s_);
    last_s_ = now_s;
  }

  uint64_t held_ = 0;
  double last_s_ = 0;
  double total_ = 0;
};

struct handover_options {
  std::string provider = "local";               ///< of libfabric, to another process; "local": within this one
  std::string host = "127.0.0.1";               ///< of this machine, for a provider
  std::vector<uint32_t> prompts = {2048, 8192}; ///< those that do not fit the model's context are left out
  uint32_t chunk_tokens = 512;
  uint32_t block_tokens = 16;
  uint32_t threads = 1;
  uint32_t runs = 3;
};

/// How the KV of a prompt leaves the prefill side. Medians of all runs.
struct handover_figure {
  double prefill_s = 0;     ///< until the last chunk was computed
  double tail_s = 0;        ///< from then until the last byte had left
  double unsent_byte_s = 0; ///< of KV that was computed and had not left yet
  double slot_byte_s = 0;   ///< of the prompt's slots in the working pool, from the first item until the last byte left
  double kept_byte_s = 0;   ///< of what the stream keeps of the prompt's tokens between two layers, beside the pool
};

/// One length of prompt. Every run has all four, one right after the other; costs and ratios are medians of the runs'
/// own.
struct handover_row {
  uint32_t tokens = 0;
  uint64_t kv_bytes = 0;
  handover_figure none;     ///< computed by chunks, handed over to nobody
  handover_figure by_chunk; ///< each layer of a chunk as soon as it is computed
  handover_figure by_layer; ///< each layer of the whole prompt as soon as it is computed, a few layers in the pool
  handover_figure at_end;   ///< computed by chunks, all of it when the prompt is computed
  double by_chunk_cost = 0; ///< of the prefill's time, over `none`
  double by_layer_cost = 0; ///< the same
  double at_end_cost = 0;   ///< the same
  double by_chunk_unsent_ratio = 0; ///< to `at_end`
  double by_layer_unsent_ratio = 0; ///< the same
  double by_chunk_slot_ratio = 0;   ///< the same
  double by_layer_slot_ratio = 0;   ///< the same
  double by_layer_kept_ratio = 0;   ///< of slots and what is kept to the slots of `at_end`
};

struct handover_result {
  std::string path; ///< the fabric, for people
  uint64_t kv_token_bytes = 0;
  std::vector<handover_row> rows;
};

/// Prefills through a device stream and hands KV over through a fabric, in the pieces in which a prefill instance does
/// it. With a provider it forks: call it while the process has no other thread. Throws `failure`: what a transfer
/// failed of, `corrupt` where other bytes arrived than were computed (only looked at within one process),
/// `invalid_argument` where no prompt fits the model's context.
handover_result bench_handover(std::shared_ptr<const kernels::model> weights, const handover_options& options);

} // namespace perigee::cli
