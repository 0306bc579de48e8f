// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/forward.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

namespace perigee::kernels::cuda {

namespace {

/// Matrix products take so many rows at least where there are `rows`, so that few shapes need an algorithm. What the
/// rows beyond hold does not matter: a row's result depends on no other.
uint32_t rounded_rows(uint32_t rows) {
  auto step = rows <= 64 ? 8u : 64u;
  return (rows + step - 1) / step * step;
}

/// Steps are made for few batch sizes, each with its graph; what is too much is filled with rows that do nothing.
uint32_t rounded_batch(uint32_t rows, uint32_t batch_max) {
  auto rounded = rows <= 8 ? std::bit_ceil(rows) : rows <= 64 ? (rows + 7) / 8 * 8 : (rows + 31) / 32 * 32;
  return std::min(rounded, batch_max);
}

} // namespace

forward::forward(machine& on, const device_weights& weights, const kv_layout& layout, std::byte* pool,
                 const forward_options& options)
  : on_(on), weights_(weights), config_(weights.config), layout_(layout), pool_(pool), options_(options),
    block_shift_(static_cast<uint32_t>(std::countr_zero(options.block_tokens))),
    width_(config_.q_width() + 2 * config_.kv_width()) {
  assert(std::has_single_bit(options.block_tokens) && options.block_tokens >= 16);
  auto rows = size_t{rounded_rows(std::max(options.rows_max, options.batch_max))};
  auto make = [&](auto& array, size_t count, bool host = false) {
    array = std::remove_reference_t<decltype(array)>{on_, count, host};
  };
  make(device_tokens_, rows);
  make(device_positions_, rows);
  make(device_table_from_, rows);
  make(device_tables_, 4096);
  make(device_sequences_, options.batch_max);
  make(device_samples_, options.batch_max);
  make(device_edits_, 4096);
  make(x_, rows * config_.hidden);
  make(normed_, rows * config_.hidden);
  make(delta_, rows * config_.hidden);
  make(qkv_, rows * width_);
  make(attended_, rows * config_.q_width());
  make(gate_up_, rows * 2 * config_.ffn);
  make(active_, rows * config_.ffn);
  auto outputs = size_t{rounded_rows(options.batch_max)};
  make(logits_, outputs * config_.vocab);
  make(scratch_, size_t{options.batch_max} * config_.vocab);
  make(sampled_, options.batch_max);
  make(sampled_host_, options.batch_max, true);
}

/// Copies to the device; a larger list gets more memory, and graphs that know the old one are forgotten.
template <class T>
void forward::put(device_array<T>& to, const std::vector<T>& values) {
  if (values.size() > to.size()) {
    to = device_array<T>{on_, std::bit_ceil(values.size())};
    on_.drop_graphs();
    graphs_.clear();
  }
  if (!values.empty())
    on_.upload(queue::compute, to.data(), values.data(), values.size() * sizeof(T));
}

void forward::ensure_splits(uint32_t rows, uint32_t splits) {
  auto units = size_t{rows} * config_.heads * splits;
  if (units * 2 <= partial_tops_.size())
    return;
  partial_ = {};
  partial_ = device_array<float>{on_, units * config_.head_dim};
  partial_tops_ = device_array<float>{on_, units * 2};
  on_.drop_graphs();
  graphs_.clear();
}

void forward::multiply(const uint16_t* weights, const uint16_t* in, void* out, uint32_t rows, uint32_t n, uint32_t k,
                       bool f32_out) {
  on_.gemm({weights, in, out, rounded_rows(rows), n, k, f32_out});
}

forward::passage forward::make_passage(uint32_t rows) {
  // Products write whole groups of rows; those of a piece must not reach into the next one.
  auto pieces = rows / options_.rows_max;
  auto room = size_t{pieces} * rounded_rows(options_.rows_max) + rounded_rows(rows - pieces * options_.rows_max);
  return {device_array<float>{on_, room * config_.hidden}, device_array<uint16_t>{on_, room * config_.hidden}};
}

/// What decoding and prefills of all layers use.
void forward::use_whole_blocks() {
  x_now_ = x_.data();
  delta_now_ = delta_.data();
  layer_first_ = 0;
  in_places_ = false;
}

void forward::begin_prefill(std::span<const token_id> tokens, uint32_t start, std::span<const uint32_t> blocks,
                            const std::optional<passage_part>& part) {
  use_whole_blocks();
  if (part) {
    auto skipped = size_t{part->row_first / options_.rows_max} * rounded_rows(options_.rows_max) * config_.hidden;
    x_now_ = part->kept.x.data() + skipped;
    delta_now_ = part->kept.delta.data() + skipped;
    layer_first_ = part->layer_first;
    in_places_ = true;
  }
  rows_ = static_cast<uint32_t>(tokens.size());
  assert(rows_ > 0 && rows_ <= options_.rows_max);
  context_ = start + rows_;
  row_tokens_.assign(tokens.begin(), tokens.end());
  positions_.resize(rows_);
  for (auto i = uint32_t{0}; i < rows_; ++i)
    positions_[i] = start + i;
  table_from_.assign(rows_, 0);
  tables_.assign(blocks.begin(), blocks.begin() + layout_.blocks_for(context_));
  sequences_ = {{0, rows_, start, 0}};
  put(device_tokens_, row_tokens_);
  put(device_positions_, positions_);
  put(device_table_from_, table_from_);
  put(device_tables_, tables_);
  put(device_sequences_, sequences_);
  if (layer_first_ == 0)
    embed(on_, {weights_.embedding.data(), device_tokens_.data(), x_now_, config_.hidden}, rows_);
}

void forward::layer_kv(uint32_t layer) {
  kv(layer, rows_);
}

void forward::layer_rest(uint32_t layer, bool wanted) {
  if (layer + 1 < config_.layers) {
    rest(layer, 0, rows_, 0);
    return;
  }
  if (!wanted)
    return;
  // Behind its K and V, the last layer matters only for the row whose logits are wanted.
  auto splits = split_count(context_);
  ensure_splits(1, splits);
  sequences_ = {{0, 1, context_ - 1, 0}};
  put(device_sequences_, sequences_);
  rest(layer, rows_ - 1, 1, splits);
  output(rows_ - 1, 1);
}

void forward::sample_last(std::span<const sample_request> requests) {
  samples_.clear();
  for (const auto& request : requests)
    samples_.add(0, request, config_.vocab);
  stage_samples();
  auto count = static_cast<uint32_t>(requests.size());
  sample(
    on_,
    {logits_.data(), scratch_.data(), device_samples_.data(), device_edits_.data(), sampled_.data(), config_.vocab},
    count);
  on_.download(queue::compute, sampled_host_.data(), sampled_.data(), count * sizeof(int32_t));
}

void forward::stage_samples() {
  put(device_samples_, samples_.rows());
  put(device_edits_, samples_.edits());
}

void forward::step(std::span<const decode_row> rows) {
  assert(!rows.empty() && rows.size() <= options_.batch_max);
  use_whole_blocks();
  auto shape = step_shape{rounded_batch(static_cast<uint32_t>(rows.size()), options_.batch_max), 1};
  row_tokens_.assign(shape.rows, 0);
  positions_.assign(shape.rows, 0);
  table_from_.assign(shape.rows, no_row);
  sequences_.assign(shape.rows, {});
  tables_.clear();
  samples_.clear();
  for (auto i = uint32_t{0}; i < rows.size(); ++i) {
    const auto& row = rows[i];
    row_tokens_[i] = row.token;
    positions_[i] = row.position;
    table_from_[i] = static_cast<uint32_t>(tables_.size());
    sequences_[i] = {i, 1, row.position, table_from_[i]};
    tables_.insert(tables_.end(), row.blocks.begin(), row.blocks.begin() + layout_.blocks_for(row.position + 1));
    samples_.add(i, row.sample, config_.vocab);
    shape.splits = std::max(shape.splits, std::bit_ceil(split_count(row.position + 1)));
  }
  for (auto i = rows.size(); i < shape.rows; ++i)
    samples_.add_nothing();
  ensure_splits(shape.rows, shape.splits);
  put(device_tokens_, row_tokens_);
  put(device_positions_, positions_);
  put(device_table_from_, table_from_);
  put(device_tables_, tables_);
  put(device_sequences_, sequences_);
  stage_samples();
  // The first time as it is: libraries load what they need for a shape then, which a capture does not allow.
  if (seen_[shape]++ == 0) {
    run_step(shape);
    return;
  }
  auto known = graphs_.find(shape);
  if (known == graphs_.end())
    known = graphs_.emplace(shape, on_.capture([&] { run_step(shape); })).first;
  graph_count_ = graphs_.size();
  on_.run(known->second);
}

void forward::run_step(const step_shape& shape) {
  embed(on_, {weights_.embedding.data(), device_tokens_.data(), x_.data(), config_.hidden}, shape.rows);
  for (auto layer = uint32_t{0}; layer < config_.layers; ++layer) {
    kv(layer, shape.rows);
    rest(layer, 0, shape.rows, shape.splits);
  }
  output(0, shape.rows);
  sample(
    on_,
    {logits_.data(), scratch_.data(), device_samples_.data(), device_edits_.data(), sampled_.data(), config_.vocab},
    shape.rows);
  on_.download(queue::compute, sampled_host_.data(), sampled_.data(), shape.rows * sizeof(int32_t));
}

/// The norm takes up what the layer before has given.
void forward::kv(uint32_t layer, uint32_t rows) {
  const auto& w = weights_.layers[layer];
  add_norm(on_,
           {x_now_, layer == 0 ? nullptr : delta_now_, w.attention_norm.data(), normed_.data(), config_.rms_eps,
            config_.hidden},
           rows);
  multiply(w.qkv.data(), normed_.data(), qkv_.data(), rows, width_, config_.hidden);
  auto args = rope_store_args{};
  args.qkv = qkv_.data();
  args.bias = w.qkv_bias.data();
  args.q_norm = w.q_norm.data();
  args.k_norm = w.k_norm.data();
  args.angles = weights_.angles.data();
  args.positions = device_positions_.data();
  args.table_from = device_table_from_.data();
  args.tables = device_tables_.data();
  args.layer = layer_at(layer);
  args.block_bytes = block_stride();
  args.v_offset = layout_.layer_bytes / 2;
  args.eps = config_.rms_eps;
  args.heads = config_.heads;
  args.kv_heads = config_.kv_heads;
  args.head_dim = config_.head_dim;
  args.block_shift = block_shift_;
  rope_store(on_, args, rows);
}

/// Attention and feed-forward of rows [first, first + rows), in splits unless `splits` is 0. What they give is left in
/// `delta_`, from its beginning.
void forward::rest(uint32_t layer, uint32_t first, uint32_t rows, uint32_t splits) {
  const auto& w = weights_.layers[layer];
  auto args = attend_args{};
  args.q = qkv_.data() + size_t{first} * width_;
  args.out = attended_.data();
  args.sequences = device_sequences_.data();
  args.tables = device_tables_.data();
  args.layer = layer_at(layer);
  args.block_bytes = block_stride();
  args.v_offset = layout_.layer_bytes / 2;
  args.partial = partial_.data();
  args.partial_tops = partial_tops_.data();
  args.q_stride = width_;
  args.heads = config_.heads;
  args.kv_heads = config_.kv_heads;
  args.head_dim = config_.head_dim;
  args.block_shift = block_shift_;
  args.window = config_.windows.empty() ? 0 : config_.windows[layer];
  args.splits = splits;
  args.scale = 1 / std::sqrt(static_cast<float>(config_.head_dim));
  if (splits == 0)
    attend_rows(on_, args, 1, rows);
  else
    attend_split(on_, args, rows, 1); // every row is a sequence
  auto* x = x_now_ + size_t{first} * config_.hidden;
  multiply(w.o.data(), attended_.data(), delta_now_, rows, config_.hidden, config_.q_width());
  add_norm(on_, {x, delta_now_, w.ffn_norm.data(), normed_.data(), config_.rms_eps, config_.hidden}, rows);
  multiply(w.gate_up.data(), normed_.data(), gate_up_.data(), rows, 2 * config_.ffn, config_.hidden);
  swiglu(on_, {gate_up_.data(), active_.data(), config_.ffn}, rows);
  multiply(w.down.data(), active_.data(), delta_now_, rows, config_.hidden, config_.ffn);
}

void forward::output(uint32_t first, uint32_t rows) {
  add_norm(on_,
           {x_now_ + size_t{first} * config_.hidden, delta_now_, weights_.final_norm.data(), normed_.data(),
            config_.rms_eps, config_.hidden},
           rows);
  multiply(weights_.output_matrix(), normed_.data(), logits_.data(), rows, config_.vocab, config_.hidden, true);
}

} // namespace perigee::kernels::cuda
