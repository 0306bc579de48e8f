// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"

#include "kernels/cpu/packed_weights.hpp"
#include "kernels/cpu/transformer.hpp"
#include "kernels/sampler.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace perigee::kernels {

namespace {

using clock = std::chrono::steady_clock;

bool go_on(uint32_t) {
  return true;
}

/// The median of the times that `body` takes, after one call that does not count.
template <class Body>
double median_seconds(uint32_t repetitions, Body&& body) {
  auto times = std::vector<double>{};
  for (auto i = uint32_t{0}; i <= repetitions; ++i) {
    auto begin = clock::now();
    body();
    if (i > 0)
      times.push_back(std::chrono::duration<double>{clock::now() - begin}.count());
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

/// Some sequences of up to `tokens` tokens, with their pool.
struct fixture {
  fixture(const std::shared_ptr<const model>& weights, const bench_options& options, uint32_t sequences,
          uint32_t tokens)
    : layout(weights->layout(16)), blocks(layout.blocks_for(tokens)), pool(sequences * blocks * layout.block_bytes()),
      slots(sequences * blocks), pass(weights, layout.block_tokens, {options.threads, false, options.batch_invariant},
                                      {pool.data(), pool.size()}) {
    std::iota(slots.begin(), slots.end(), 0u);
  }

  kv_layout layout;
  uint32_t blocks;
  cpu::aligned_buffer<std::byte> pool;
  std::vector<uint32_t> slots;
  cpu::transformer pass;
};

token_id some_token(const model_config& config, uint32_t i) {
  return static_cast<token_id>(random_word(1, 0, i) % config.vocab);
}

decode_figure decode(const std::shared_ptr<const model>& weights, const bench_options& options, uint32_t batch) {
  auto steps = options.decode_steps;
  auto run = fixture{weights, options, batch, options.decode_context + steps};
  auto rows = std::vector<cpu::row>(batch);
  auto wanted = std::vector<uint32_t>(batch);
  std::iota(wanted.begin(), wanted.end(), 0u);
  auto choose = sampler{};
  auto greedy = sample_request{};
  greedy.params.temperature = 0;
  auto seconds = median_seconds(options.repetitions, [&] {
    for (auto i = uint32_t{0}; i < batch; ++i)
      rows[i] = {some_token(weights->config(), i), options.decode_context, run.slots.data() + i * run.blocks};
    for (auto step = uint32_t{0}; step < steps; ++step) {
      run.pass.forward(rows, wanted, go_on);
      for (auto i = uint32_t{0}; i < batch; ++i) {
        rows[i].token = std::max(0, choose.sample(run.pass.logits(i), greedy));
        ++rows[i].position;
      }
    }
  });
  auto kv_token_bytes = run.layout.block_bytes() / run.layout.block_tokens;
  auto context = options.decode_context + steps / 2.0;
  auto bytes = static_cast<double>(weights->packed().bytes()) + batch * context * static_cast<double>(kv_token_bytes);
  return {batch, batch * steps / seconds, bytes * steps / seconds, 0};
}

/// Operations of the matrix products of one prefill: every layer for all tokens, but of the last only q, k and v; the
/// rest of it and the output for the last token.
double product_flops(const model_config& c, uint32_t tokens) {
  auto qkv = static_cast<double>(c.hidden) * (c.q_width() + 2.0 * c.kv_width());
  auto rest = static_cast<double>(c.hidden) * (c.q_width() + 3.0 * c.ffn);
  auto output = static_cast<double>(c.hidden) * c.vocab;
  return 2 * (tokens * (c.layers * qkv + (c.layers - 1) * rest) + rest + output);
}

prefill_figure prefill(const std::shared_ptr<const model>& weights, const bench_options& options, uint32_t tokens) {
  auto run = fixture{weights, options, 1, tokens};
  auto rows = std::vector<cpu::row>{};
  for (auto i = uint32_t{0}; i < tokens; ++i)
    rows.push_back({some_token(weights->config(), i), i, run.slots.data()});
  auto wanted = tokens - 1;
  auto seconds = median_seconds(options.repetitions, [&] { run.pass.forward(rows, {&wanted, 1}, go_on); });
  return {tokens, tokens / seconds, product_flops(weights->config(), tokens) / seconds, 0};
}

} // namespace

bench_result bench_engine(std::shared_ptr<const model> weights, const bench_options& options) {
  const auto& table = cpu::ops_for(cpu::best_instruction_set());
  auto result = bench_result{};
  result.threads = options.threads;
  result.instruction_set = table.name;
  result.weight_type = to_string(weights->weights().type);
  result.weight_bytes = weights->packed().bytes();
  result.limits = measure_limits(options.threads);
  auto context = weights->config().context;
  if (options.decode_context + options.decode_steps <= context)
    for (auto batch : options.batches) {
      auto figure = decode(weights, options, batch);
      figure.read_ratio = figure.bytes_per_second / result.limits.read_bytes_per_second;
      result.decode.push_back(figure);
    }
  auto bf16 = weights->weights().type == dtype::bf16 && result.limits.bf16_flops_per_second > 0;
  for (auto tokens : options.prompts)
    if (tokens <= context) {
      auto figure = prefill(weights, options, tokens);
      figure.gemm_ratio =
        figure.flops_per_second / (bf16 ? result.limits.bf16_flops_per_second : result.limits.f32_flops_per_second);
      result.prefill.push_back(figure);
    }
  if (result.decode.empty() && result.prefill.empty())
    throw failure(errc::invalid_argument,
                  fmt::format("bench: nothing to measure fits the model's context of {} tokens", context));
  return result;
}

} // namespace perigee::kernels
