// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/weights.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <array>
#include <cassert>
#include <cstring>

namespace perigee::kernels {

namespace {

class reader {
public:
  reader(const tensor_store& tensors, dtype type, std::string type_from)
    : tensors_(tensors), type_(type), type_from_(std::move(type_from)) {}

  matrix_view matrix(const std::string& name, uint32_t rows, uint32_t columns) const {
    auto shape = std::array<uint64_t, 2>{rows, columns};
    const auto& tensor = tensors_.require(name, shape);
    if (*tensor.type != type_)
      throw failure(errc::unsupported,
                    fmt::format("tensor \"{}\" is {}, but \"{}\" is {}; this engine wants one type for all matrices",
                                name, to_string(*tensor.type), type_from_, to_string(type_)));
    return {tensor.bytes, *tensor.type, rows, columns, tensor.paired_rows};
  }

  /// The `weight` of a linear layer, which must have no `bias` unless `biased`.
  matrix_view linear(const std::string& name, uint32_t rows, uint32_t columns, bool biased = false) const {
    if (!biased && tensors_.find(name + ".bias") != nullptr)
      throw failure(
        errc::unsupported,
        fmt::format("tensor \"{}.bias\" is present; this engine has biases only on q, k and v of Qwen2", name));
    return matrix(name + ".weight", rows, columns);
  }

  /// The `bias` of a linear layer that has one.
  void bias(const std::string& name, uint32_t size, std::vector<float>& out) const {
    auto values = vector(name + ".bias", size);
    out.insert(out.end(), values.begin(), values.end());
  }

  std::vector<float> vector(const std::string& name, uint32_t size) const {
    auto shape = std::array<uint64_t, 1>{size};
    const auto& tensor = tensors_.require(name, shape);
    auto out = std::vector<float>(size);
    widen(tensor.bytes, *tensor.type, out);
    return out;
  }

private:
  const tensor_store& tensors_;
  dtype type_;
  std::string type_from_;
};

} // namespace

void widen(std::span<const std::byte> bytes, dtype type, std::span<float> out) {
  assert(bytes.size() == bytes_of(type, out.size()));
  if (type == dtype::f32) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return;
  }
  auto bits = uint16_t{0};
  if (type == dtype::q8_0) {
    for (auto i = size_t{0}; i < out.size(); ++i) {
      auto* block = bytes.data() + i / 32 * 34;
      std::memcpy(&bits, block, 2);
      out[i] = f16_to_f32(bits) * static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
    }
    return;
  }
  for (auto i = size_t{0}; i < out.size(); ++i) {
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    out[i] = type == dtype::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
}

transformer_weights view_weights(const tensor_store& tensors, const model_config& config) {
  const auto embedding = std::string{"model.embed_tokens.weight"};
  auto shape = std::array<uint64_t, 2>{config.vocab, config.hidden};
  auto result = transformer_weights{};
  result.type = *tensors.require(embedding, shape).type;
  auto read = reader{tensors, result.type, embedding};
  result.embedding = read.matrix(embedding, config.vocab, config.hidden);
  result.output = config.tied_embeddings ? result.embedding : read.linear("lm_head", config.vocab, config.hidden);
  result.final_norm = read.vector("model.norm.weight", config.hidden);
  for (auto i = uint32_t{0}; i < config.layers; ++i) {
    auto prefix = fmt::format("model.layers.{}.", i);
    auto layer = layer_weights{};
    layer.attention_norm = read.vector(prefix + "input_layernorm.weight", config.hidden);
    layer.ffn_norm = read.vector(prefix + "post_attention_layernorm.weight", config.hidden);
    layer.q = read.linear(prefix + "self_attn.q_proj", config.q_width(), config.hidden, config.qkv_bias);
    layer.k = read.linear(prefix + "self_attn.k_proj", config.kv_width(), config.hidden, config.qkv_bias);
    layer.v = read.linear(prefix + "self_attn.v_proj", config.kv_width(), config.hidden, config.qkv_bias);
    if (config.qkv_bias) {
      read.bias(prefix + "self_attn.q_proj", config.q_width(), layer.qkv_bias);
      read.bias(prefix + "self_attn.k_proj", config.kv_width(), layer.qkv_bias);
      read.bias(prefix + "self_attn.v_proj", config.kv_width(), layer.qkv_bias);
    }
    if (config.qk_norm) {
      layer.q_norm = read.vector(prefix + "self_attn.q_norm.weight", config.head_dim);
      layer.k_norm = read.vector(prefix + "self_attn.k_norm.weight", config.head_dim);
    }
    layer.o = read.linear(prefix + "self_attn.o_proj", config.hidden, config.q_width());
    layer.gate = read.linear(prefix + "mlp.gate_proj", config.ffn, config.hidden);
    layer.up = read.linear(prefix + "mlp.up_proj", config.ffn, config.hidden);
    layer.down = read.linear(prefix + "mlp.down_proj", config.hidden, config.ffn);
    result.layers.push_back(std::move(layer));
  }
  return result;
}

} // namespace perigee::kernels
