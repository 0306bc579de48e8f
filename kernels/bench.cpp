// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"

#include "kernels/block_table.hpp"
#include "kernels/cpu/packed_weights.hpp"
#include "kernels/cpu/transformer.hpp"
#include "kernels/sampler.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>

namespace perigee::kernels {

namespace {

using clock = std::chrono::steady_clock;

const cpu::transformer::layer_hook hook = [](uint32_t) { return true; };

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
      pass(weights, layout.block_tokens, {options.threads, false, options.batch_invariant}) {
    auto table = block_table{{pool.data(), pool.size()}, layout.block_bytes()};
    for (auto slot = 0u; slot < table.slots(); ++slot)
      places.push_back(table.at(slot));
    // Pages that nobody wrote to are all the same page of zeros, which no cache ever loses. In any type this is a
    // number.
    std::memset(pool.data(), 0x3c, pool.size());
  }

  kv_layout layout;
  uint32_t blocks;
  cpu::aligned_buffer<std::byte> pool;
  std::vector<std::byte*> places; ///< of each block
  cpu::transformer pass;
};

token_id some_token(const model_config& config, uint32_t i) {
  return static_cast<token_id>(random_word(1, 0, i) % config.vocab);
}

decode_figure decode(const std::shared_ptr<const model>& weights, const bench_options& options, uint32_t batch,
                     uint32_t begin) {
  auto steps = options.decode_steps;
  auto run = fixture{weights, options, batch, begin + steps};
  auto rows = std::vector<cpu::row>(batch);
  auto wanted = std::vector<uint32_t>(batch);
  std::iota(wanted.begin(), wanted.end(), 0u);
  auto choose = std::vector<sampler>(run.pass.threads());
  auto greedy = sample_request{};
  greedy.params.temperature = 0;
  auto count = [&] { return options.allocations ? options.allocations() : 0; };
  auto allocated = uint64_t{0}; // by the last repetition
  auto seconds = median_seconds(options.repetitions, [&] {
    auto before = count();
    for (auto i = uint32_t{0}; i < batch; ++i)
      rows[i] = {some_token(weights->config(), i), begin, run.places.data() + i * run.blocks};
    for (auto step = uint32_t{0}; step < steps; ++step) {
      run.pass.forward(rows, wanted, hook);
      run.pass.each_output(batch, [&](uint32_t i, uint32_t thread) {
        rows[i].token = std::max(0, choose[thread].sample(run.pass.logits(i), greedy));
        ++rows[i].position;
      });
    }
    allocated = count() - before;
  });
  auto kv_token_bytes = run.layout.block_bytes() / run.layout.block_tokens;
  auto context = begin + steps / 2;
  auto bytes = static_cast<double>(weights->packed().bytes()) + batch * context * static_cast<double>(kv_token_bytes);
  const auto& c = weights->config();
  auto layer = c.q_width() * 2.0 + 2.0 * c.kv_width() + 3.0 * c.ffn;
  auto flops = 2.0 * batch * c.hidden * (c.layers * layer + c.vocab);
  return {batch, context, batch * steps / seconds, bytes * steps / seconds, 0, flops * steps / seconds, allocated};
}

/// Operations of the matrix products of one prefill: every layer for all tokens, but of the last only q, k and v; the
/// rest of it and the output for the last token.
double product_flops(const model_config& c, double tokens) {
  auto qkv = static_cast<double>(c.hidden) * (c.q_width() + 2.0 * c.kv_width());
  auto rest = static_cast<double>(c.hidden) * (c.q_width() + 3.0 * c.ffn);
  auto output = static_cast<double>(c.hidden) * c.vocab;
  return 2 * (tokens * (c.layers * qkv + (c.layers - 1) * rest) + rest + output);
}

/// The whole prompt, then, for each suffix that is shorter, only its last tokens over the KV of the others.
std::vector<prefill_figure> prefill(const std::shared_ptr<const model>& weights, const bench_options& options,
                                    uint32_t tokens) {
  auto run = fixture{weights, options, 1, tokens};
  auto figures = std::vector<prefill_figure>{};
  auto measure = [&](uint32_t reused) {
    auto rows = std::vector<cpu::row>{};
    for (auto i = reused; i < tokens; ++i)
      rows.push_back({some_token(weights->config(), i), i, run.places.data()});
    auto wanted = tokens - reused - 1;
    auto seconds = median_seconds(options.repetitions, [&] { run.pass.forward(rows, {&wanted, 1}, hook); });
    auto computed = static_cast<double>(tokens - reused);
    figures.push_back({tokens, reused, computed / seconds, product_flops(weights->config(), computed) / seconds, 0});
  };
  measure(0);
  for (auto suffix : options.suffixes)
    if (suffix > 0 && suffix < tokens)
      measure(tokens - suffix);
  return figures;
}

/// What `body` returns while another thread does `other` again and again.
template <class Other, class Body>
auto beside(Other& other, Body&& body) {
  auto stop = std::atomic<bool>{false};
  auto thread = std::thread{[&] {
    while (!stop.load(std::memory_order_relaxed))
      other();
  }};
  auto result = body();
  stop.store(true, std::memory_order_relaxed);
  thread.join();
  return result;
}

/// A prompt of half the context at most in one, a sequence of that length in the other.
together_figure together(const std::shared_ptr<const model>& weights, const bench_options& options) {
  constexpr auto tokens_max = 256u;
  constexpr auto steps = 4;
  auto tokens = std::clamp(weights->config().context / 2, 1u, tokens_max);
  auto prompt = fixture{weights, options, 1, tokens};
  auto sequence = fixture{weights, options, 1, tokens + 1};
  auto prompt_rows = std::vector<cpu::row>{};
  for (auto i = 0u; i < tokens; ++i)
    prompt_rows.push_back({some_token(weights->config(), i), i, prompt.places.data()});
  auto newest = cpu::row{some_token(weights->config(), 0), tokens, sequence.places.data()};
  auto prefill_last = tokens - 1;
  auto decode_last = uint32_t{0};
  auto prefill = [&] { prompt.pass.forward(prompt_rows, {&prefill_last, 1}, hook); };
  auto decode = [&] {
    for (auto step = 0; step < steps; ++step)
      sequence.pass.forward({&newest, 1}, {&decode_last, 1}, hook);
  };
  auto time = [&](auto& body) { return median_seconds(4 * options.repetitions, body); };
  auto prefill_alone = time(prefill);
  auto decode_alone = time(decode);
  return {std::max(1.0, beside(decode, [&] { return time(prefill); }) / prefill_alone),
          std::max(1.0, beside(prefill, [&] { return time(decode); }) / decode_alone)};
}

} // namespace

bench_result bench_engine(std::shared_ptr<const model> weights, const bench_options& options) {
  const auto& table = cpu::ops_for(cpu::best_instruction_set());
  auto result = bench_result{};
  result.threads = options.threads;
  result.instruction_set = table.name;
  result.weight_type = weights->int8() ? "int8" : to_string(weights->weights().type);
  result.weight_bytes = weights->packed().bytes();
  result.limits = measure_limits(options.threads);
  auto layout = weights->layout(16);
  result.kv_token_bytes = layout.block_bytes() / layout.block_tokens;
  auto bf16 = weights->weights().type == dtype::bf16 && result.limits.bf16_flops_per_second > 0;
  auto flops_limit = bf16 ? result.limits.bf16_flops_per_second : result.limits.f32_flops_per_second;
  auto fits = [&](uint64_t sequences, uint64_t tokens) {
    return tokens <= weights->config().context
           && sequences * layout.blocks_for(static_cast<uint32_t>(tokens)) * layout.block_bytes()
                <= options.pool_bytes_max;
  };
  for (auto context : options.contexts)
    for (auto batch : options.batches)
      if (fits(batch, uint64_t{context} + options.decode_steps)) {
        auto figure = decode(weights, options, batch, context);
        figure.read_ratio = figure.bytes_per_second / result.limits.read_bytes_per_second;
        figure.gemm_ratio /= flops_limit;
        result.decode.push_back(figure);
      }
  for (auto tokens : options.prompts)
    if (fits(1, tokens))
      for (auto& figure : prefill(weights, options, tokens)) {
        figure.gemm_ratio = figure.flops_per_second / flops_limit;
        result.prefill.push_back(figure);
      }
  if (options.together)
    result.together = together(weights, options);
  if (result.decode.empty() && result.prefill.empty())
    throw failure(errc::invalid_argument, fmt::format("bench: nothing to measure fits the model's context of {} tokens",
                                                      weights->config().context));
  return result;
}

} // namespace perigee::kernels
