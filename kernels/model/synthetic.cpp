// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/synthetic.hpp"

#include "transport/base/status.hpp"

#include <boost/json.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace perigee::kernels {

namespace {

struct preset {
  std::string_view name;
  uint32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
  double theta;
  bool tied;
};
constexpr preset presets[] = {{"15m", 6, 288, 6, 6, 48, 768, 32'000, 2048, 1e4, true},
                              {"110m", 12, 768, 12, 12, 64, 2048, 32'000, 16'384, 1e4, true},
                              {"1b", 16, 2048, 32, 8, 64, 8192, 128'256, 131'072, 5e5, true},
                              {"8b", 32, 4096, 32, 8, 128, 14'336, 128'256, 131'072, 5e5, false}};

/// All matrices of a model, one behind the other, from one cheap generator.
class generator {
public:
  explicit generator(std::vector<std::byte>& memory) : memory_(memory) {}

  matrix_view matrix(uint32_t rows, uint32_t columns) {
    auto count = size_t{rows} * columns;
    auto bytes = std::span{memory_}.subspan(at_, 2 * count);
    at_ += 2 * count;
    auto width = 1.7f / std::sqrt(static_cast<float>(columns)); // uniform, so that sums keep their size
    for (auto i = size_t{0}; i < count; ++i) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      auto unit = static_cast<float>(static_cast<int32_t>(state_ >> 32)) * 0x1p-31f;
      auto half = f32_to_bf16(unit * width);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return {bytes, dtype::bf16, rows, columns};
  }

private:
  std::vector<std::byte>& memory_;
  size_t at_ = 0;
  uint64_t state_ = 1;
};

tokenizer byte_tokenizer(uint32_t vocab) {
  auto parts = bpe_parts{};
  parts.byte_fallback = true;
  parts.pieces = {"<unk>", "<s>", "</s>"};
  for (auto byte = 0; byte < 256; ++byte)
    parts.pieces.push_back(fmt::format("<0x{:02X}>", byte));
  for (auto id = parts.pieces.size(); id < vocab; ++id)
    parts.pieces.push_back(fmt::format("[{}]", id));
  auto steps = boost::json::object{{"decoder", {{"type", "ByteFallback"}}}};
  return {bpe{std::move(parts), "preset"}, steps, "preset"};
}

} // namespace

std::vector<std::string> preset_names() {
  auto names = std::vector<std::string>{};
  for (const auto& one : presets)
    names.emplace_back(one.name);
  return names;
}

std::shared_ptr<const model> random_model(std::string_view name, const load_options& options) {
  auto found = std::ranges::find(presets, name, &preset::name);
  if (found == std::end(presets))
    throw failure(errc::invalid_argument,
                  fmt::format("preset \"{}\" is not known; allowed: {}", name, fmt::join(preset_names(), ", ")));
  auto config = model_config{};
  config.layers = found->layers;
  config.hidden = found->hidden;
  config.heads = found->heads;
  config.kv_heads = found->kv_heads;
  config.head_dim = found->head_dim;
  config.ffn = found->ffn;
  config.vocab = found->vocab;
  config.context = found->context;
  config.rope.theta = found->theta;
  config.tied_embeddings = found->tied;
  config.rms_eps = 1e-5f;
  config.eos = {2};
  auto per_layer = size_t{config.hidden} * (2 * config.q_width() + 2 * config.kv_width() + 3 * config.ffn);
  auto table = size_t{config.vocab} * config.hidden;
  auto memory = std::vector<std::byte>(2 * (per_layer * config.layers + table * (found->tied ? 1 : 2)));
  auto next = generator{memory};
  auto weights = transformer_weights{};
  weights.type = dtype::bf16;
  weights.embedding = next.matrix(config.vocab, config.hidden);
  weights.output = found->tied ? weights.embedding : next.matrix(config.vocab, config.hidden);
  weights.final_norm.assign(config.hidden, 1);
  for (auto i = uint32_t{0}; i < config.layers; ++i) {
    auto layer = layer_weights{};
    layer.attention_norm = layer.ffn_norm = weights.final_norm;
    layer.q = next.matrix(config.q_width(), config.hidden);
    layer.k = next.matrix(config.kv_width(), config.hidden);
    layer.v = next.matrix(config.kv_width(), config.hidden);
    layer.o = next.matrix(config.hidden, config.q_width());
    layer.gate = next.matrix(config.ffn, config.hidden);
    layer.up = next.matrix(config.ffn, config.hidden);
    layer.down = next.matrix(config.hidden, config.ffn);
    weights.layers.push_back(std::move(layer));
  }
  return model::of_memory(fmt::format("preset-{}", name), config, byte_tokenizer(config.vocab), std::move(memory),
                          std::move(weights), options);
}

} // namespace perigee::kernels
