// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/random.hpp"
#include "actors/sim/trace/trace.hpp"

#include <vector>

namespace perigee::sim {

/// A few conversations whose prompts grow, one request every 0.4 s.
inline std::vector<trace_request> drawn_trace(uint64_t seed, size_t requests) {
  random_stream draw{derived_seed(seed, "trace")};
  std::vector<trace_request> result;
  std::vector<trace_request> conversations(6);
  uint64_t blocks = 0;
  for (size_t i = 0; i < requests; ++i) {
    auto& talk = conversations[draw.below(conversations.size())];
    if (talk.blocks.size() > 40)
      talk = {};
    // What was a partial block is another block once there is more.
    if (talk.input_tokens % trace_block_tokens != 0)
      talk.blocks.pop_back();
    talk.input_tokens += static_cast<uint32_t>(draw.between(100, 3000));
    while (talk.blocks.size() < trace_blocks(talk.input_tokens))
      talk.blocks.push_back(blocks++);
    talk.output_tokens = static_cast<uint32_t>(draw.between(1, 60));
    talk.arrival_ns = i * 400'000'000;
    result.push_back(talk);
  }
  return result;
}

} // namespace perigee::sim
