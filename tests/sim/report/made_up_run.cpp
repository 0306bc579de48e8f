// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/report/made_up_run.hpp"

#include "actors/sim/trace/draw.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace perigee::sim {

namespace {

constexpr uint64_t step_ns = 30'000'000;

/// Sequences of steps between two changes of the batch.
void add_steps(run_record& run, uint32_t instance) {
  auto changes = std::vector<std::pair<uint64_t, int>>{};
  for (const auto& request : run.requests)
    if (request.decode == instance && request.joined_ns != never_ns) {
      changes.emplace_back(request.joined_ns, 1);
      changes.emplace_back(request.end_ns, -1);
    }
  std::ranges::sort(changes);
  auto rows = 0;
  for (size_t i = 0; i < changes.size(); ++i) {
    rows += changes[i].second;
    if (rows > 0 && changes[i + 1].first > changes[i].first) {
      auto steps = static_cast<uint32_t>((changes[i + 1].first - changes[i].first) / step_ns + 1);
      run.slices.push_back({slice_kind::steps, instance, changes[i].first, changes[i + 1].first, no_request,
                            uint64_t{steps} * static_cast<uint64_t>(rows), steps, static_cast<uint32_t>(rows)});
    }
  }
}

void add_hot_blocks(run_record& run, random_stream& random) {
  for (int i = 0; i < 3; ++i) {
    auto block = hot_block{fmt::format("block {}", i), {}};
    auto copies = 1u;
    for (uint64_t at_ns = 0; !run.requests.empty() && at_ns < run.requests.back().arrival_ns; at_ns += 20'000'000'000) {
      block.replicas.emplace_back(at_ns, copies);
      copies = static_cast<uint32_t>(std::clamp<uint64_t>(copies + random.below(3), 2, 9) - 1);
    }
    run.hot_blocks.push_back(std::move(block));
  }
}

} // namespace

run_record made_up_run(const made_up_options& options) {
  auto run = run_record{};
  run.name = fmt::format("made up {}", options.seed);
  for (uint32_t i = 0; i < options.prefill + options.decode; ++i) {
    auto is_prefill = i < options.prefill;
    run.instances.push_back({is_prefill ? fmt::format("prefill-{}", i) : fmt::format("decode-{}", i - options.prefill),
                             is_prefill ? instance_role::prefill : instance_role::decode});
  }
  auto random = random_stream{options.seed};
  auto free_ns = std::vector<uint64_t>(options.prefill);
  auto seen = std::set<uint64_t>{};
  for (const auto& drawn : draw_trace({traffic_kind::conversation, options.seed}, options.requests, 500'000'000)) {
    auto request = run_request{};
    request.id = run.requests.size();
    request.arrival_ns = drawn.arrival_ns;
    request.input_tokens = drawn.input_tokens;
    request.output_tokens = drawn.output_tokens;
    for (auto block : drawn.blocks)
      request.reused_tokens += seen.insert(block).second ? 0 : trace_block_tokens;
    request.reused_tokens = std::min(request.reused_tokens, request.input_tokens - 1);
    request.prefill = static_cast<uint32_t>(std::ranges::min_element(free_ns) - free_ns.begin());
    request.placed_ns = request.arrival_ns + 100'000;
    auto begin_ns = std::max(free_ns[request.prefill], request.placed_ns);
    if (options.wait_max_ns != 0 && begin_ns - request.arrival_ns > options.wait_max_ns) {
      request.rejected = "the prefill would start too late";
      request.end_ns = request.placed_ns;
      request.prefill = no_instance;
      run.requests.push_back(request);
      continue;
    }
    auto computed = request.input_tokens - request.reused_tokens;
    request.prefill_begin_ns = begin_ns;
    request.prefill_end_ns = begin_ns + 50'000'000 + options.token_ns * computed;
    request.transfer_end_ns = request.prefill_end_ns + request.input_tokens * 100;
    request.joined_ns = request.transfer_end_ns + random.below(step_ns);
    request.first_token_ns = request.prefill_end_ns;
    request.decode = options.prefill + static_cast<uint32_t>(random.below(options.decode));
    request.end_ns = request.joined_ns + request.output_tokens * step_ns;
    request.ttft_ns = request.first_token_ns - request.arrival_ns;
    request.tbt_ns = step_ns + random.below(step_ns);
    free_ns[request.prefill] = request.prefill_end_ns;
    auto half_ns = (request.prefill_begin_ns + request.prefill_end_ns) / 2;
    run.slices.push_back(
      {slice_kind::chunk, request.prefill, request.prefill_begin_ns, half_ns, request.id, computed / 2, 0, 0});
    run.slices.push_back(
      {slice_kind::chunk, request.prefill, half_ns, request.prefill_end_ns, request.id, computed - computed / 2, 0, 0});
    if (request.reused_tokens > 0)
      run.slices.push_back({slice_kind::fetch, request.prefill, request.placed_ns,
                            request.placed_ns + request.reused_tokens * 4000, request.id, request.reused_tokens, 0, 0});
    run.slices.push_back({slice_kind::hand_over, request.decode, request.prefill_begin_ns, request.transfer_end_ns,
                          request.id, request.input_tokens, 0, 0});
    run.requests.push_back(request);
  }
  for (uint32_t i = 0; i < options.decode; ++i)
    add_steps(run, options.prefill + i);
  add_hot_blocks(run, random);
  return run;
}

} // namespace perigee::sim
