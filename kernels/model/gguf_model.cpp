// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/gguf_model.hpp"

#include "kernels/model/weights.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace perigee::kernels {

namespace {

constexpr auto context_max = uint64_t{1} << 24;

model_family read_family(const gguf_file& file) {
  const auto& name = file.require_string("general.architecture");
  for (auto family : {model_family::llama, model_family::qwen2, model_family::qwen3})
    if (name == to_string(family))
      return family;
  throw failure(errc::unsupported, fmt::format("{}: key \"general.architecture\" is \"{}\"; this engine supports "
                                               "\"llama\", \"qwen2\" and \"qwen3\"",
                                               file.path().string(), name));
}

/// Divisors of the frequencies that some files bring as a tensor (Llama 3's stretching).
std::vector<double> pair_factors(const gguf_file& file, uint32_t head_dim) {
  auto found = file.tensors().find("rope_freqs.weight");
  if (found == file.tensors().end())
    return {};
  const auto& view = found->second;
  if (!view.type || view.shape != std::vector<uint64_t>{head_dim / 2})
    throw failure(errc::invalid_argument,
                  fmt::format("{}: tensor \"rope_freqs.weight\" is {} with shape [{}]; allowed: F32 with shape [{}]",
                              file.path().string(), view.type_name, shape_text(view.shape), head_dim / 2));
  auto values = std::vector<float>(head_dim / 2);
  widen(view.bytes, *view.type, values);
  for (auto value : values)
    if (!(value > 0) || !std::isfinite(value))
      throw failure(errc::invalid_argument,
                    fmt::format("{}: tensor \"rope_freqs.weight\" holds {}; allowed: numbers above 0",
                                file.path().string(), value));
  return {values.begin(), values.end()};
}

rope_config read_rope(const gguf_file& file, const std::string& prefix, const model_config& config) {
  auto rope = rope_config{};
  auto key = [&](const char* name) { return prefix + ".rope." + name; };
  rope.theta = file.find_number(key("freq_base"), 1, 1e12).value_or(10000);
  auto& scaling = rope.scaling;
  auto* type = file.find_string(key("scaling.type"));
  if (type != nullptr && *type != "none") {
    if (*type == "linear")
      scaling.kind = rope_scaling::form::linear;
    else if (*type == "yarn")
      scaling.kind = rope_scaling::form::yarn;
    else
      throw failure(errc::unsupported,
                    fmt::format("{}: key \"{}\" is \"{}\"; this engine supports \"none\", \"linear\" "
                                "and \"yarn\"",
                                file.path().string(), key("scaling.type"), *type));
    scaling.factor = file.find_number(key("scaling.factor"), 1, 1e6).value_or(1);
  }
  if (scaling.kind == rope_scaling::form::yarn) {
    scaling.original_context = static_cast<uint32_t>(
      file.find_uint(key("scaling.original_context_length"), 1, context_max).value_or(config.context));
    scaling.beta_fast = file.find_number(key("scaling.yarn_beta_fast"), 1e-6, 1e6).value_or(32);
    scaling.beta_slow = file.find_number(key("scaling.yarn_beta_slow"), 1e-6, 1e6).value_or(1);
    auto given = file.find_number(key("scaling.attn_factor"), 1e-6, 1e6).value_or(1);
    scaling.attention_factor = given * (scaling.factor <= 1 ? 1 : 0.1 * std::log(scaling.factor) + 1);
  }
  scaling.pair_factors = pair_factors(file, config.head_dim);
  return rope;
}

/// A window for every layer, or, where the pattern lists the layers, for those that it names.
std::vector<uint32_t> read_windows(const gguf_file& file, const std::string& prefix, const model_config& config) {
  auto key = prefix + ".attention.sliding_window";
  auto window = static_cast<uint32_t>(file.find_uint(key, 0, context_max).value_or(0));
  if (window == 0 || window >= config.context)
    return {};
  auto windows = std::vector<uint32_t>(config.layers, window);
  if (auto* pattern = file.find_array(key + "_pattern")) {
    if (pattern->size() != config.layers)
      file.refuse(key + "_pattern", fmt::format("one boolean for each of the {} layers", config.layers));
    for (auto layer = size_t{0}; layer < windows.size(); ++layer) {
      auto* slides = std::get_if<bool>(&(*pattern)[layer].value);
      if (slides == nullptr)
        file.refuse(key + "_pattern", "booleans");
      windows[layer] = *slides ? window : 0;
    }
  }
  return windows;
}

} // namespace

model_config gguf_config(const gguf_file& file) {
  auto config = model_config{};
  config.family = read_family(file);
  config.qkv_bias = config.family == model_family::qwen2;
  config.qk_norm = config.family == model_family::qwen3;
  auto prefix = std::string{to_string(config.family)};
  auto size = [&](const char* name, uint64_t max) {
    return static_cast<uint32_t>(file.require_uint(prefix + name, 1, max));
  };
  config.layers = size(".block_count", 1024);
  config.hidden = size(".embedding_length", 1 << 17);
  config.ffn = size(".feed_forward_length", 1 << 20);
  config.heads = size(".attention.head_count", 1024);
  config.context = size(".context_length", context_max);
  config.kv_heads =
    static_cast<uint32_t>(file.find_uint(prefix + ".attention.head_count_kv", 1, config.heads).value_or(config.heads));
  if (config.heads % config.kv_heads != 0)
    file.refuse(prefix + ".attention.head_count_kv", fmt::format("a divisor of head_count = {}", config.heads));
  config.head_dim = static_cast<uint32_t>(
    file.find_uint(prefix + ".attention.key_length", 2, head_dim_max).value_or(config.hidden / config.heads));
  if (config.head_dim % 2 != 0 || config.head_dim == 0 || config.head_dim > head_dim_max)
    file.refuse(prefix + ".attention.key_length", fmt::format("an even number up to {}", head_dim_max));
  for (auto* same : {".attention.value_length", ".rope.dimension_count"})
    if (file.find_uint(prefix + same, 1, 1 << 20).value_or(config.head_dim) != config.head_dim)
      file.refuse(prefix + same, fmt::format("{}, as the length of a key", config.head_dim));
  for (auto* other : {".expert_count", ".logit_scale", ".embedding_scale", ".residual_scale", ".attention.scale"})
    if (file.find(prefix + other) != nullptr)
      throw failure(errc::unsupported,
                    fmt::format("{}: key \"{}{}\" is present; this engine supports models without it",
                                file.path().string(), prefix, other));
  config.vocab = static_cast<uint32_t>(file.require_array("tokenizer.ggml.tokens").size());
  if (config.vocab == 0)
    file.refuse("tokenizer.ggml.tokens", "at least one token");
  config.rms_eps =
    static_cast<float>(file.find_number(prefix + ".attention.layer_norm_rms_epsilon", 0, 1).value_or(1e-6));
  config.tied_embeddings = !file.tensors().contains("output.weight");
  config.rope = read_rope(file, prefix, config);
  config.windows = read_windows(file, prefix, config);
  if (auto bos = file.find_uint("tokenizer.ggml.bos_token_id", 0, config.vocab - 1))
    config.bos = static_cast<token_id>(*bos);
  for (auto* end : {"eos", "eot", "eom"})
    if (auto id = file.find_uint(fmt::format("tokenizer.ggml.{}_token_id", end), 0, config.vocab - 1))
      config.eos.push_back(static_cast<token_id>(*id));
  std::ranges::sort(config.eos);
  config.eos.erase(std::unique(config.eos.begin(), config.eos.end()), config.eos.end());
  return config;
}

std::string tensor_name_of_gguf(const std::string& name) {
  static constexpr auto whole = std::array<std::pair<std::string_view, std::string_view>, 3>{
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};
  static constexpr auto in_layer =
    std::array<std::pair<std::string_view, std::string_view>, 11>{{{"attn_norm", "input_layernorm"},
                                                                   {"attn_q", "self_attn.q_proj"},
                                                                   {"attn_k", "self_attn.k_proj"},
                                                                   {"attn_v", "self_attn.v_proj"},
                                                                   {"attn_output", "self_attn.o_proj"},
                                                                   {"attn_q_norm", "self_attn.q_norm"},
                                                                   {"attn_k_norm", "self_attn.k_norm"},
                                                                   {"ffn_norm", "post_attention_layernorm"},
                                                                   {"ffn_gate", "mlp.gate_proj"},
                                                                   {"ffn_up", "mlp.up_proj"},
                                                                   {"ffn_down", "mlp.down_proj"}}};
  auto dot = name.rfind('.');
  if (dot == std::string::npos)
    return name;
  auto stem = std::string_view{name}.substr(0, dot);
  auto tail = std::string_view{name}.substr(dot);
  for (auto [from, to] : whole)
    if (stem == from)
      return fmt::format("{}{}", to, tail);
  if (!stem.starts_with("blk."))
    return name;
  auto second = stem.find('.', 4);
  if (second == std::string_view::npos)
    return name;
  for (auto [from, to] : in_layer)
    if (stem.substr(second + 1) == from)
      return fmt::format("model.layers.{}.{}{}", stem.substr(4, second - 4), to, tail);
  return name;
}

tensor_store::tensor_store(gguf_file file) : dir_(file.path()) {
  if (file.find_uint("split.count", 0, UINT16_MAX).value_or(1) > 1)
    throw failure(errc::unsupported,
                  fmt::format("{}: key \"split.count\" says that the model lies in several files; this engine reads "
                              "single ones: join them first",
                              file.path().string()));
  auto config = gguf_config(file);
  for (const auto& [name, view] : file.tensors()) {
    auto known = tensor_name_of_gguf(name);
    auto added = tensors_.emplace(known, view);
    if (!added.second)
      throw failure(errc::invalid_argument,
                    fmt::format("{}: tensor \"{}\" is there under two names", file.path().string(), known));
    // Files of this architecture have the rows of q and k reordered, so that rotated pairs are neighbours.
    if (config.family == model_family::llama && (known.ends_with("q_proj.weight") || known.ends_with("k_proj.weight")))
      added.first->second.paired_rows = config.head_dim;
  }
  paths_.push_back(file.path());
  maps_.push_back(std::move(file).take_map());
}

} // namespace perigee::kernels
