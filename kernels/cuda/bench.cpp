// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/bench.hpp"

#include "kernels/cuda/forward.hpp"
#include "kernels/cuda/wait.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace perigee::kernels::cuda {

namespace {

constexpr auto deadline_ns = uint64_t{120} * 1'000'000'000;
constexpr auto block_tokens = 16u;

struct limits {
  double flops = 0; ///< a second, of the best matrix product
  double bytes = 0; ///< a second, read and written by a copy
};

class runner {
public:
  runner(machine& on, const device_bench_options& options)
    : on_(on), options_(options), begin_(on.make_event()), end_(on.make_event()) {}

  std::vector<figure> run() {
    measure_limits();
    weights_ = random_weights(on_, options_.shape);
    layout_ = {options_.shape.layers, block_tokens, uint64_t{4} * options_.shape.kv_width() * block_tokens};
    for (auto tokens : options_.prompts)
      if (tokens <= options_.shape.context)
        prefill(tokens);
    for (auto context : options_.contexts)
      for (auto batch : options_.batches)
        if (context < options_.shape.context)
          decode(batch, context);
    return std::move(figures_);
  }

private:
  /// Median of device time, after one call that does not count.
  double time(queue where, const std::function<void()>& body) {
    auto times = std::vector<double>{};
    for (auto i = uint32_t{0}; i <= options_.repetitions; ++i) {
      on_.record(where, begin_);
      body();
      on_.record(where, end_);
      wait_for(on_, end_, deadline_ns);
      if (i > 0)
        times.push_back(on_.seconds_between(begin_, end_));
    }
    std::ranges::sort(times);
    return times[times.size() / 2];
  }

  void add(std::string what, double seconds, double rate, std::string unit, double ceiling = 0, std::string name = {}) {
    figures_.push_back(
      {std::move(what), seconds, rate, std::move(unit), ceiling > 0 ? rate / ceiling : 0, std::move(name)});
  }

  void measure_limits() {
    auto bytes = options_.copy_bytes / 4096 * 4096;
    {
      auto from = device_array<std::byte>{on_, bytes};
      auto to = device_array<std::byte>{on_, bytes};
      auto range = std::vector<copy_range>{{0, 0}};
      auto list = device_array<copy_range>{on_, 1};
      on_.upload(queue::compute, list.data(), range.data(), sizeof(copy_range));
      auto seconds = time(queue::compute, [&] {
        copy_ranges(on_, queue::compute, {from.data(), to.data(), list.data(), bytes}, 1);
      });
      limits_.bytes = 2.0 * static_cast<double>(bytes) / seconds;
      add("copy within the device (read + write)", seconds, limits_.bytes, "B/s");
      auto host = device_array<std::byte>{on_, bytes / 4, true};
      seconds = time(queue::copy, [&] { on_.upload(queue::copy, to.data(), host.data(), bytes / 4); });
      add("copy from pinned host memory", seconds, static_cast<double>(bytes / 4) / seconds, "B/s");
      seconds = time(queue::copy, [&] { on_.download(queue::copy, host.data(), to.data(), bytes / 4); });
      add("copy to pinned host memory", seconds, static_cast<double>(bytes / 4) / seconds, "B/s");
    }
    // Numbers of some size: products of zeros need less power, and run faster than any real ones.
    auto n = options_.gemm_size;
    auto count = size_t{n} * n;
    auto numbers = std::vector<uint16_t>(count);
    auto state = uint32_t{7};
    for (auto& number : numbers) {
      state = state * 1664525 + 1013904223;
      number = f32_to_bf16(static_cast<float>(state >> 8) / (1 << 23) - 1);
    }
    auto a = device_array<uint16_t>{on_, count};
    auto b = device_array<uint16_t>{on_, count};
    auto c = device_array<uint16_t>{on_, count};
    on_.upload(queue::compute, a.data(), numbers.data(), 2 * count);
    on_.upload(queue::compute, b.data(), numbers.data(), 2 * count);
    auto best = 0.0;
    for (auto rows : {n / 4, n / 2, n}) {
      auto seconds = time(queue::compute, [&] { on_.gemm({a.data(), b.data(), c.data(), rows, n, n, false}); });
      auto rate = 2.0 * rows * n * n / seconds;
      best = std::max(best, rate);
      add(fmt::format("matrix product {} x {} x {}", rows, n, n), seconds, rate, "FLOP/s");
    }
    limits_.flops = best;
  }

  bool fits(uint64_t bytes) {
    return bytes + (uint64_t{1} << 30) < on_.free_bytes() || on_.name() == "emulated";
  }

  /// Operations of the matrix products; of the last layer only q, k and v for all rows.
  double product_flops(uint32_t rows) const {
    const auto& c = options_.shape;
    auto qkv = static_cast<double>(c.hidden) * (c.q_width() + 2.0 * c.kv_width());
    auto rest = static_cast<double>(c.hidden) * (c.q_width() + 3.0 * c.ffn);
    return 2 * (rows * (c.layers * qkv + (c.layers - 1) * rest) + rest + static_cast<double>(c.hidden) * c.vocab);
  }
  /// Of causal attention in one layer: half of the square.
  double attention_flops(uint32_t rows) const {
    return 2.0 * rows * rows * options_.shape.q_width();
  }

  void prefill(uint32_t tokens) {
    auto blocks = layout_.blocks_for(tokens);
    if (!fits(blocks * layout_.block_bytes()
              + uint64_t{tokens} * (options_.shape.ffn * 6 + options_.shape.hidden * 16)))
      return;
    auto pool = device_array<std::byte>{on_, blocks * layout_.block_bytes()};
    auto pass = forward{on_, weights_, layout_, pool.data(), {block_tokens, tokens, 1}};
    auto slots = std::vector<uint32_t>(blocks);
    std::iota(slots.begin(), slots.end(), 0u);
    auto ids = std::vector<token_id>(tokens);
    for (auto i = uint32_t{0}; i < tokens; ++i)
      ids[i] = static_cast<token_id>(i * 7919u % options_.shape.vocab);
    auto greedy = sample_request{};
    greedy.params.temperature = 0;
    auto whole = [&](uint32_t from) {
      pass.begin_prefill(std::span{ids}.subspan(from), from, slots);
      for (auto layer = uint32_t{0}; layer < layout_.layers; ++layer) {
        pass.layer_kv(layer);
        pass.layer_rest(layer, true);
      }
      pass.sample_last({&greedy, 1});
    };
    auto seconds = time(queue::compute, [&] { whole(0); });
    // The roofline: everything at the rate of the best product.
    auto roofline = (product_flops(tokens) + (layout_.layers - 1) * attention_flops(tokens)) / limits_.flops;
    add(fmt::format("prefill, {} tokens", tokens), seconds, tokens / seconds, "tokens/s", tokens / roofline,
        "products and attention at the best product's rate");
    if (tokens > 64) {
      seconds = time(queue::compute, [&] { whole(tokens - 64); });
      add(fmt::format("prefill, {} tokens of which 64 are new", tokens), seconds, 64 / seconds, "tokens/s");
    }
    attention(tokens, slots, pool);
  }

  attend_args attention_args(const device_array<uint16_t>& q, const device_array<uint16_t>& out,
                             const device_array<attend_sequence>& sequences, const device_array<uint32_t>& tables,
                             const std::byte* pool) const {
    const auto& c = options_.shape;
    auto args = attend_args{};
    args.q = q.data();
    args.out = out.data();
    args.sequences = sequences.data();
    args.tables = tables.data();
    args.layer = pool;
    args.block_bytes = layout_.block_bytes();
    args.v_offset = layout_.layer_bytes / 2;
    args.q_stride = c.q_width();
    args.heads = c.heads;
    args.kv_heads = c.kv_heads;
    args.head_dim = c.head_dim;
    args.block_shift = 4;
    args.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    return args;
  }

  template <class T>
  device_array<T> on_device(const std::vector<T>& values) {
    auto memory = device_array<T>{on_, values.size()};
    on_.upload(queue::compute, memory.data(), values.data(), values.size() * sizeof(T));
    return memory;
  }

  void attention(uint32_t tokens, const std::vector<uint32_t>& slots, const device_array<std::byte>& pool) {
    auto q = on_device(std::vector<uint16_t>(size_t{tokens} * options_.shape.q_width(), f32_to_bf16(0.5f)));
    auto out = device_array<uint16_t>{on_, q.size()};
    auto sequences = on_device(std::vector<attend_sequence>{{0, tokens, 0, 0}});
    auto tables = on_device(slots);
    auto args = attention_args(q, out, sequences, tables, pool.data());
    auto seconds = time(queue::compute, [&] { attend_rows(on_, args, 1, tokens); });
    add(fmt::format("prefill attention, one layer, {} tokens", tokens), seconds, attention_flops(tokens) / seconds,
        "FLOP/s", limits_.flops, "best matrix product");
  }

  void decode(uint32_t batch, uint32_t context) {
    auto blocks = layout_.blocks_for(context + 1);
    auto pool_bytes = uint64_t{batch} * blocks * layout_.block_bytes();
    if (!fits(pool_bytes + uint64_t{batch} * options_.shape.vocab * 8))
      return;
    auto pool = device_array<std::byte>{on_, pool_bytes};
    zero(pool);
    auto pass = forward{on_, weights_, layout_, pool.data(), {block_tokens, 1, batch}};
    auto rows = std::vector<decode_row>(batch);
    for (auto i = uint32_t{0}; i < batch; ++i) {
      rows[i].token = static_cast<token_id>(i % options_.shape.vocab);
      rows[i].position = context - 1;
      auto slots = std::vector<uint32_t>(blocks);
      std::iota(slots.begin(), slots.end(), i * blocks);
      rows[i].blocks = std::move(slots);
      rows[i].sample.params.temperature = 0;
    }
    pass.step(rows); // as it is; then once to make the graph
    pass.step(rows);
    auto seconds = time(queue::compute, [&] { pass.step(rows); });
    auto kv_bytes = static_cast<double>(batch) * context * static_cast<double>(layout_.block_bytes()) / block_tokens;
    auto memory = (static_cast<double>(weights_.bytes()) + kv_bytes) / limits_.bytes;
    auto products = batch * product_flops(1) / limits_.flops;
    add(fmt::format("decode step, batch {}, {} tokens of context", batch, context), seconds, batch / seconds,
        "tokens/s", batch / std::max(memory, products),
        "weights and KV read at the copy's rate, products at the best rate");
    decode_attention(batch, context, rows, pool, kv_bytes / layout_.layers);
  }

  void zero(const device_array<std::byte>& memory) {
    auto zeros = std::vector<std::byte>(size_t{16} << 20);
    for (auto at = size_t{0}; at < memory.size(); at += zeros.size())
      on_.upload(queue::compute, memory.data() + at, zeros.data(), std::min(zeros.size(), memory.size() - at));
  }

  void decode_attention(uint32_t batch, uint32_t context, const std::vector<decode_row>& rows,
                        const device_array<std::byte>& pool, double bytes) {
    auto list = std::vector<attend_sequence>{};
    auto slots = std::vector<uint32_t>{};
    for (auto i = uint32_t{0}; i < batch; ++i) {
      list.push_back({i, 1, context - 1, static_cast<uint32_t>(slots.size())});
      slots.insert(slots.end(), rows[i].blocks.begin(), rows[i].blocks.end());
    }
    auto q = on_device(std::vector<uint16_t>(size_t{batch} * options_.shape.q_width(), f32_to_bf16(0.5f)));
    auto out = device_array<uint16_t>{on_, q.size()};
    auto sequences = on_device(list);
    auto tables = on_device(slots);
    auto args = attention_args(q, out, sequences, tables, pool.data());
    args.splits = split_count(context);
    auto units = size_t{batch} * options_.shape.heads * args.splits;
    auto partial = device_array<float>{on_, units * options_.shape.head_dim};
    auto tops = device_array<float>{on_, units * 2};
    args.partial = partial.data();
    args.partial_tops = tops.data();
    auto seconds = time(queue::compute, [&] { attend_split(on_, args, batch, 1); });
    add(fmt::format("decode attention, one layer, batch {}, {} tokens of context", batch, context), seconds,
        bytes / seconds, "B/s", limits_.bytes, "copy within the device");
  }

  machine& on_;
  const device_bench_options& options_;
  machine::event begin_;
  machine::event end_;
  limits limits_;
  device_weights weights_;
  kv_layout layout_;
  std::vector<figure> figures_;
};

} // namespace

model_config shape_by_name(const std::string& name) {
  auto shape = model_config{};
  shape.rms_eps = 1e-5f;
  shape.rope.theta = 500000;
  if (name == "8b") {
    shape.layers = 32;
    shape.hidden = 4096;
    shape.ffn = 14336;
    shape.heads = 32;
    shape.kv_heads = 8;
    shape.head_dim = 128;
    shape.vocab = 128256;
    shape.context = 65536;
  } else if (name == "1b") {
    shape.layers = 16;
    shape.hidden = 2048;
    shape.ffn = 8192;
    shape.heads = 32;
    shape.kv_heads = 8;
    shape.head_dim = 64;
    shape.vocab = 128256;
    shape.context = 65536;
  } else if (name == "tiny") {
    shape.layers = 2;
    shape.hidden = 64;
    shape.ffn = 96;
    shape.heads = 4;
    shape.kv_heads = 2;
    shape.head_dim = 16;
    shape.vocab = 128;
    shape.context = 256;
  } else {
    throw failure(errc::invalid_argument, fmt::format("--shape: \"{}\" is not known; allowed: 8b, 1b, tiny", name));
  }
  return shape;
}

std::vector<figure> bench_device(machine& on, const device_bench_options& options) {
  return runner{on, options}.run();
}

} // namespace perigee::kernels::cuda
