// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/transformer.hpp"

#include "kernels/cpu/dnnl_gemm.hpp"
#include "kernels/cpu/packed_weights.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <numeric>

namespace perigee::kernels::cpu {

namespace {

// Rows that go through a layer's matrices together: enough to be bound by arithmetic, few enough for the caches.
constexpr auto chunk_rows = uint32_t{512};
// Elementwise work on fewer numbers than this is done before a helper has woken up.
constexpr auto serial_numbers_max = uint64_t{20'000};
// Query heads that go over one piece of K and V together, and as many as dot products want to bring it into order for.
constexpr auto units_aim = uint32_t{16};
constexpr auto dot_units_aim = attention_units_max;

void ensure(aligned_buffer<float>& buffer, size_t count) {
  if (buffer.size() < count)
    buffer = aligned_buffer<float>{count};
}

uint32_t qkv_width(const model_config& config) {
  return config.q_width() + 2 * config.kv_width();
}

} // namespace

transformer::transformer(std::shared_ptr<const model> weights, uint32_t block_tokens,
                         const transformer_options& options)
  : model_(std::move(weights)), config_(model_->config()), packed_(model_->packed()),
    layout_(model_->layout(block_tokens)),
    frequencies_(inverse_frequencies(config_.rope, config_.head_dim, config_.context)), pool_(options.threads, options.cores, options.processors),
    ops_(ops_for(options.reference_kernels ? instruction_set::scalar : best_instruction_set())),
    linear_(ops_, pool_, options.batch_invariant), fixed_order_(options.batch_invariant),
    form_(linear_.form_for(packed_.output().type())) {
  scratch_stride_ = std::max<size_t>({attention_scratch_floats(config_.head_dim), config_.hidden, config_.ffn});
  scratch_stride_ = (scratch_stride_ + 15) / 16 * 16;
  scratch_ = aligned_buffer<float>{scratch_stride_ * pool_.threads()};
}

/// Calls body(row, scratch) for every row, in parallel where that pays.
template <class Body>
void transformer::each_row(uint32_t rows, uint32_t width, Body&& body) {
  auto pieces = uint64_t{rows} * width <= serial_numbers_max ? 1u : std::min(rows, pool_.threads() * 4);
  pool_.run(pieces, [&](uint32_t piece, uint32_t thread) {
    auto end = static_cast<uint32_t>(uint64_t{rows} * (piece + 1) / pieces);
    for (auto i = static_cast<uint32_t>(uint64_t{rows} * piece / pieces); i < end; ++i)
      body(i, scratch_.data() + thread * scratch_stride_);
  });
}

bool transformer::forward(std::span<const row> rows, std::span<const uint32_t> wanted, const layer_hook& after_layer,
                          const part& what) {
  auto* kept = what.kept;
  if (kept == nullptr)
    return run_layers(rows, wanted, after_layer, what);
  auto swap_kept = [&] {
    std::swap(x_, kept->x);
    std::swap(angles_, kept->angles);
  };
  swap_kept();
  layer_base_ = what.layers.first;
  auto done = run_layers(rows, wanted, after_layer, what);
  layer_base_ = 0;
  swap_kept();
  return done;
}

bool transformer::run_layers(std::span<const row> rows, std::span<const uint32_t> wanted, const layer_hook& after_layer,
                             const part& what) {
  const auto layers = what.layers;
  auto count = static_cast<uint32_t>(rows.size());
  auto chunk_max = std::min(count, chunk_rows);
  ensure(x_, size_t{count} * config_.hidden);
  ensure(tail_, wanted.size() * config_.hidden);
  ensure(angles_, size_t{count} * config_.head_dim);
  ensure(qkv_, size_t{chunk_max} * qkv_width(config_));
  ensure(attended_, size_t{chunk_max} * config_.q_width());
  ensure(gate_up_, size_t{chunk_max} * 2 * config_.ffn);
  if (everything_.size() < chunk_rows) {
    everything_.resize(chunk_rows);
    std::iota(everything_.begin(), everything_.end(), 0u);
  }
  if (what.kept == nullptr || layers.first == 0)
    place(rows);
  if (layers.first == 0)
    embed(rows);
  else if (what.kept == nullptr)
    each_activation(rows, layers, [&](float* x, std::byte* outside, size_t bytes) { std::memcpy(x, outside, bytes); });
  auto last = config_.layers - 1;
  auto end = layers.end_of(config_.layers);
  for (auto layer = layers.first; layer < end; ++layer) {
    auto wanted_at = size_t{0};
    for (auto first = uint32_t{0}; first < count; first += chunk_rows) {
      if (what.goes_on && !what.goes_on())
        return false;
      auto part = chunk{rows.subspan(first, std::min(chunk_rows, count - first)), first, {}};
      compute_kv(layer, part);
      auto* x = x_.data() + size_t{first} * config_.hidden;
      if (layer != last) {
        finish_layer(layer, part.rows, std::span{everything_}.first(part.rows.size()), x);
        continue;
      }
      // Behind its K and V, the last layer matters only for rows whose logits are wanted.
      auto& indices = indices_;
      indices.clear();
      auto* tail = tail_.data() + wanted_at * config_.hidden;
      for (; wanted_at < wanted.size() && wanted[wanted_at] < first + part.rows.size(); ++wanted_at) {
        auto index = wanted[wanted_at] - first;
        std::copy_n(x + size_t{index} * config_.hidden, config_.hidden, tail + indices.size() * config_.hidden);
        indices.push_back(index);
      }
      if (!indices.empty())
        finish_layer(layer, part.rows, indices, tail);
    }
    if (!after_layer(layer))
      return false;
  }
  if (end < config_.layers && what.kept == nullptr)
    each_activation(rows, layers, [&](float* x, std::byte* outside, size_t bytes) { std::memcpy(outside, x, bytes); });
  auto outputs = static_cast<uint32_t>(wanted.size());
  if (outputs == 0)
    return true;
  in_.reshape(rounded_rows(outputs), config_.hidden, form_);
  each_row(outputs, config_.hidden, [&](uint32_t i, float* scratch) {
    ops_.rms_norm(tail_.data() + size_t{i} * config_.hidden, model_->weights().final_norm.data(), config_.rms_eps,
                  config_.hidden, scratch);
    in_.set(ops_, i, scratch);
  });
  ensure(logits_, size_t{outputs} * config_.vocab);
  linear_.apply(packed_.output(), in_, outputs, logits_.data(), config_.vocab, false);
  return true;
}

std::span<const float> transformer::logits(uint32_t i) const noexcept {
  return {logits_.data() + size_t{i} * config_.vocab, config_.vocab};
}

void transformer::embed(std::span<const row> rows) {
  const auto& table = model_->weights().embedding;
  each_row(static_cast<uint32_t>(rows.size()), config_.hidden, [&](uint32_t i, float*) {
    widen(table.row(static_cast<uint32_t>(rows[i].token)), table.type,
          {x_.data() + size_t{i} * config_.hidden, config_.hidden});
  });
}

/// Calls copy(residual stream, where it lies in its block between two parts of the model, bytes) for every row.
template <class Copy>
void transformer::each_activation(std::span<const row> rows, layer_span layers, Copy&& copy) {
  auto at = *activations_at(layout_, layers, activation_bytes_block());
  auto bytes = config_.hidden * sizeof(float);
  each_row(static_cast<uint32_t>(rows.size()), config_.hidden, [&](uint32_t i, float*) {
    auto position = rows[i].position;
    auto* outside = rows[i].blocks[position / layout_.block_tokens] + layout_.offset(0, at)
                    + position % layout_.block_tokens * bytes;
    copy(x_.data() + size_t{i} * config_.hidden, outside, bytes);
  });
}

/// What every layer needs of the positions.
void transformer::place(std::span<const row> rows) {
  auto half = config_.head_dim / 2;
  auto scale = config_.rope.scaling.attention_factor;
  each_row(static_cast<uint32_t>(rows.size()), config_.head_dim, [&](uint32_t i, float*) {
    auto* cosines = angles_.data() + size_t{i} * config_.head_dim;
    for (auto pair = 0u; pair < half; ++pair) {
      auto angle = rows[i].position * frequencies_[pair];
      cosines[pair] = static_cast<float>(scale * std::cos(angle));
      cosines[half + pair] = static_cast<float>(scale * std::sin(angle));
    }
  });
}

/// Norm, q, k and v of all rows; rotates and stores.
void transformer::compute_kv(uint32_t layer, const chunk& part) {
  auto count = static_cast<uint32_t>(part.rows.size());
  const auto& weights = model_->weights().layers[layer];
  in_.reshape(rounded_rows(count), config_.hidden, form_);
  each_row(count, config_.hidden, [&](uint32_t i, float* scratch) {
    ops_.rms_norm(x_.data() + size_t{part.first + i} * config_.hidden, weights.attention_norm.data(), config_.rms_eps,
                  config_.hidden, scratch);
    in_.set(ops_, i, scratch);
  });
  auto width = qkv_width(config_);
  linear_.apply(packed_.layers()[layer].qkv, in_, count, qkv_.data(), width, false);
  auto half = config_.head_dim / 2;
  auto scale = 1 / std::sqrt(static_cast<float>(config_.head_dim));
  each_row(count, width, [&](uint32_t i, float*) {
    auto* cosines = angles_.data() + size_t{part.first + i} * config_.head_dim;
    auto* q = qkv_.data() + size_t{i} * width;
    for (auto d = size_t{0}; d < weights.qkv_bias.size(); ++d)
      q[d] += weights.qkv_bias[d];
    if (!weights.q_norm.empty())
      for (auto head = 0u; head < config_.heads + config_.kv_heads; ++head) {
        auto* values = q + head * config_.head_dim;
        auto& norm = head < config_.heads ? weights.q_norm : weights.k_norm;
        ops_.rms_norm(values, norm.data(), config_.rms_eps, config_.head_dim, values);
      }
    for (auto head = 0u; head < config_.heads + config_.kv_heads; ++head) // the heads of k follow those of q
      ops_.rope(q + head * config_.head_dim, cosines, cosines + half, half);
    for (auto d = 0u; d < config_.q_width(); ++d)
      q[d] *= scale;
    store_kv(layer, i, part.rows[i]);
  });
}

namespace {

template <class T, class Convert>
void scatter(const float* k, const float* v, T* k_out, T* v_out, const model_config& config, uint32_t block_tokens,
             uint32_t offset, Convert&& convert) {
  for (auto i = 0u; i < config.kv_width(); ++i)
    k_out[size_t{i} * block_tokens + offset] = convert(k[i]);
  for (auto head = 0u; head < config.kv_heads; ++head)
    for (auto d = 0u; d < config.head_dim; ++d)
      v_out[(size_t{head} * block_tokens + offset) * config.head_dim + d] = convert(v[head * config.head_dim + d]);
}

} // namespace

void transformer::store_kv(uint32_t layer, uint32_t index, const row& at) {
  auto bt = layout_.block_tokens;
  auto* k = qkv_.data() + size_t{index} * qkv_width(config_) + config_.q_width();
  auto* v = k + config_.kv_width();
  auto* k_out = at.blocks[at.position / bt] + layer_offset(layer);
  auto* v_out = k_out + layout_.layer_bytes / 2;
  auto offset = at.position % bt;
  auto as_half = [](std::byte* p) { return reinterpret_cast<uint16_t*>(p); };
  switch (model_->kv_type()) {
  case dtype::f32:
    scatter(k, v, reinterpret_cast<float*>(k_out), reinterpret_cast<float*>(v_out), config_, bt, offset,
            [](float value) { return value; });
    break;
  case dtype::f16: scatter(k, v, as_half(k_out), as_half(v_out), config_, bt, offset, f32_to_f16); break;
  case dtype::bf16: scatter(k, v, as_half(k_out), as_half(v_out), config_, bt, offset, f32_to_bf16); break;
  case dtype::q8_0: break; // KV never is
  }
}

/// Attention and feed-forward of the rows that `indices` picks from the chunk; their residual streams stand in `x` one
/// after the other.
void transformer::finish_layer(uint32_t layer, std::span<const row> rows, std::span<const uint32_t> indices, float* x) {
  auto count = static_cast<uint32_t>(indices.size());
  const auto& weights = model_->weights().layers[layer];
  const auto& packed = packed_.layers()[layer];
  attend(layer, rows, indices);
  in_.reshape(rounded_rows(count), config_.q_width(), form_);
  each_row(count, config_.q_width(),
           [&](uint32_t i, float*) { in_.set(ops_, i, attended_.data() + size_t{i} * config_.q_width()); });
  linear_.apply(packed.o, in_, count, x, config_.hidden, true);
  in_.reshape(rounded_rows(count), config_.hidden, form_);
  each_row(count, config_.hidden, [&](uint32_t i, float* scratch) {
    ops_.rms_norm(x + size_t{i} * config_.hidden, weights.ffn_norm.data(), config_.rms_eps, config_.hidden, scratch);
    in_.set(ops_, i, scratch);
  });
  linear_.apply(packed.gate_up, in_, count, gate_up_.data(), 2 * size_t{config_.ffn}, false);
  in_.reshape(rounded_rows(count), config_.ffn, form_);
  each_row(count, config_.ffn, [&](uint32_t i, float* scratch) {
    auto* gate = gate_up_.data() + size_t{i} * 2 * config_.ffn;
    ops_.swiglu(gate, gate + config_.ffn, config_.ffn, scratch);
    in_.set(ops_, i, scratch);
  });
  linear_.apply(packed.down, in_, count, x, config_.hidden, true);
}

void transformer::attend(uint32_t layer, std::span<const row> rows, std::span<const uint32_t> indices) {
  auto heads_per_kv = config_.heads / config_.kv_heads;
  auto dots = ops_.attention_bf16_dot != nullptr && model_->kv_type() == dtype::bf16
              && dot_attention_fits(config_.head_dim, layout_.block_tokens);
  auto rows_max = std::max(1u, (dots ? dot_units_aim : units_aim) / heads_per_kv);
  // Runs of rows that share a sequence, each at most `rows_max` long.
  auto& runs = runs_;
  runs.clear();
  for (auto i = 0u; i < indices.size(); ++i)
    if (i == 0 || rows[indices[i]].blocks != rows[indices[i - 1]].blocks || i - runs.back().first == rows_max)
      runs.emplace_back(i, i + 1);
    else
      runs.back().second = i + 1;
  auto kernel = model_->kv_type() == dtype::f32   ? ops_.attention_f32
                : model_->kv_type() == dtype::f16 ? ops_.attention_f16
                                                  : ops_.attention_bf16;
  auto head_bytes = uint64_t{config_.head_dim} * layout_.block_tokens * size_of(model_->kv_type());
  auto groups = head_groups(static_cast<uint32_t>(runs.size()), static_cast<uint32_t>(indices.size()));
  pool_.run(static_cast<uint32_t>(runs.size()) * groups, [&](uint32_t task, uint32_t thread) {
    // Later rows attend more: the longest runs first, so that no thread is left with one at the end.
    auto [begin, end] = runs[runs.size() - 1 - task / groups];
    auto kv_begin = config_.kv_heads * (task % groups) / groups;
    auto kv_end = config_.kv_heads * (task % groups + 1) / groups;
    // More query heads than a task takes are only ever those of a single KV head.
    auto heads_max = std::max(1u, attention_units_max / (end - begin) / (kv_end - kv_begin));
    for (auto first = 0u; first < heads_per_kv; first += heads_max) {
      auto heads = std::min(heads_max, heads_per_kv - first);
      const float* q[attention_units_max];
      float* out[attention_units_max];
      uint32_t starts[attention_units_max];
      uint32_t lengths[attention_units_max];
      auto units = 0u;
      for (auto kv_head = kv_begin; kv_head < kv_end; ++kv_head)
        for (auto i = begin; i < end; ++i)
          for (auto head = kv_head * heads_per_kv + first; head < kv_head * heads_per_kv + first + heads; ++head, ++units) {
            q[units] = qkv_.data() + size_t{indices[i]} * qkv_width(config_) + head * config_.head_dim;
            out[units] = attended_.data() + size_t{i} * config_.q_width() + head * config_.head_dim;
            starts[units] = config_.attends_from(layer, rows[indices[i]].position);
            lengths[units] = rows[indices[i]].position + 1;
          }
      auto work = attention_task{};
      work.q = q;
      work.out = out;
      work.starts = starts;
      work.lengths = lengths;
      work.units = units;
      work.head_dim = config_.head_dim;
      work.block_tokens = layout_.block_tokens;
      work.blocks = rows[indices[begin]].blocks;
      work.k_offset = layer_offset(layer) + kv_begin * head_bytes;
      work.v_offset = work.k_offset + layout_.layer_bytes / 2;
      work.scratch = scratch_.data() + thread * scratch_stride_;
      work.heads = kv_end - kv_begin;
      // A single unit reads K and V where they are; which of the two it is must not depend on the batch.
      if (dots && (work.head_units() > 1 || fixed_order_))
        ops_.attention_bf16_dot(work);
      else
        kernel(work);
    }
  });
}

/// Into how many tasks the KV heads of each of `runs` runs over `rows` rows are divided. Rows that are alone with their
/// sequence read all of K and V for little arithmetic: heads that go over the blocks together find long pieces of memory.
/// Others find theirs in the caches, one head after the other.
uint32_t transformer::head_groups(uint32_t runs, uint32_t rows) const noexcept {
  auto heads_max = attention_units_max / (config_.heads / config_.kv_heads);
  if (runs < rows || heads_max < 2)
    return config_.kv_heads;
  auto threads = pool_.threads();
  auto wanted = runs == 1 ? threads : (4 * threads + runs - 1) / runs; // several tasks a thread, as runs differ in length
  return std::clamp(wanted, (config_.kv_heads + heads_max - 1) / heads_max, config_.kv_heads);
}

} // namespace perigee::kernels::cpu
