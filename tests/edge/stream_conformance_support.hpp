// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/edge/stream_conformance.hpp"

#include <cstdint>
#include <numeric>
#include <vector>

/// What the cases say their work with.
namespace perigee::testing::stream_cases {

using kernels::decode_work;
using kernels::prefill_work;
using kernels::sample_request;

inline sample_request greedy() {
  sample_request request;
  request.params.temperature = 0;
  return request;
}

/// `count` slots from `first` on.
inline std::vector<uint32_t> slots(uint32_t first, uint32_t count) {
  std::vector<uint32_t> out(count);
  std::iota(out.begin(), out.end(), first);
  return out;
}

inline std::vector<token_id> prompt(const stream_world& world, uint32_t length, uint32_t seed) {
  std::vector<token_id> out;
  for (uint32_t i = 0; i < length; ++i)
    out.push_back(static_cast<token_id>((seed * 7919u + i * 104729u + i * i * 31u) % static_cast<uint32_t>(world.vocabulary())));
  return out;
}

/// Small helpers over one world: submit, wait, and say what lies in the pool.
class bench {
public:
  explicit bench(stream_world& world) : world_(world), stream_(world.stream()) {}

  uint32_t blocks_for(uint32_t tokens) const {
    return stream_.layout().blocks_for(tokens);
  }

  kernels::work_result run(prefill_work work) {
    return answer(submit(std::move(work)));
  }

  template <class Work>
  uint64_t submit(Work work) {
    work.id = ++ids_;
    stream_.submit(std::move(work));
    return ids_;
  }

  /// Of the next item to be submitted.
  uint64_t next_id() const {
    return ids_ + 1;
  }

  kernels::work_result answer(uint64_t id) {
    REQUIRE(world_.pump([&] { return world_.log.done(id); }));
    return world_.log.result(id);
  }

  /// Prefill of a whole prompt into the slots from `first` on; returns the sampled token.
  token_id prefill(const std::vector<token_id>& tokens, uint32_t first) {
    auto result = run({0, tokens, 0, slots(first, blocks_for(static_cast<uint32_t>(tokens.size()))), {greedy()}});
    REQUIRE(result.outcome.ok());
    REQUIRE(result.tokens.size() == 1);
    return result.tokens[0];
  }

  /// `steps` greedy tokens after `token` at `position`, in the slots from `first` on.
  std::vector<token_id> decode(token_id token, uint32_t position, uint32_t first, uint32_t steps) {
    std::vector<token_id> out;
    for (uint32_t i = 0; i < steps; ++i) {
      auto result = answer(submit(decode_work{0, {{token, position + i, slots(first, blocks_for(position + i + 1)), greedy()}}}));
      REQUIRE(result.outcome.ok());
      token = result.tokens.at(0);
      out.push_back(token);
    }
    return out;
  }

  std::vector<std::byte> block(uint32_t slot) const {
    auto from = stream_.pool().subspan(stream_.layout().offset(slot), stream_.layout().block_bytes());
    return {from.begin(), from.end()};
  }

  std::vector<std::byte> pool() const {
    return {stream_.pool().begin(), stream_.pool().end()};
  }

  void copy(std::vector<std::pair<uint32_t, uint32_t>> pairs) {
    CHECK(answer(submit(kernels::copy_work{0, std::move(pairs)})).outcome.ok());
  }

  stream_world& world_;
  kernels::stream& stream_;
  uint64_t ids_ = 0;
};

} // namespace perigee::testing::stream_cases
