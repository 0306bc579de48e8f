// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/config.hpp"

#include "kernels/model/json_reader.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto config_bytes_max = uint64_t{1} << 20;
constexpr auto context_max = uint64_t{1} << 24;

[[noreturn]] void unsupported(const json_reader& reader, std::string_view key, std::string_view supported) {
  auto* value = reader.find(key);
  throw failure(errc::unsupported, fmt::format("{}: key \"{}\" is {}; this engine supports {}", reader.where(), key,
                                               value == nullptr ? "missing" : brief(*value), supported));
}

void require_absent_or_false(const json_reader& reader, std::string_view key) {
  if (reader.find_bool(key).value_or(false))
    unsupported(reader, key, "only false");
}

struct family_name {
  model_family family;
  std::string_view architecture;
  std::string_view type;
};
constexpr auto families = std::array{family_name{model_family::llama, "LlamaForCausalLM", "llama"},
                                     family_name{model_family::mistral, "MistralForCausalLM", "mistral"},
                                     family_name{model_family::qwen2, "Qwen2ForCausalLM", "qwen2"},
                                     family_name{model_family::qwen3, "Qwen3ForCausalLM", "qwen3"}};

model_family read_family(const json_reader& reader) {
  auto* architectures = reader.find_array("architectures");
  auto listed = architectures != nullptr && !architectures->empty();
  auto* type = reader.find_string("model_type");
  for (const auto& known : families) {
    auto named = [&](const json::value& name) {
      return name.is_string() && std::string_view{name.get_string()} == known.architecture;
    };
    if (listed ? std::ranges::any_of(*architectures, named) : type != nullptr && *type == known.type)
      return known.family;
  }
  auto supported = std::string{};
  for (const auto& known : families)
    supported += fmt::format("{}\"{}\"", supported.empty() ? "" : ", ", listed ? known.architecture : known.type);
  unsupported(reader, listed ? "architectures" : "model_type", supported);
}

void check_features(const json_reader& reader, model_family family) {
  if (auto* act = reader.find_string("hidden_act"); act != nullptr && *act != "silu")
    unsupported(reader, "hidden_act", "\"silu\"");
  require_absent_or_false(reader, "attention_bias");
  require_absent_or_false(reader, "mlp_bias");
  if (reader.find("quantization_config") != nullptr)
    unsupported(reader, "quantization_config", "only models without it");
  if (family == model_family::llama && reader.find("sliding_window") != nullptr)
    unsupported(reader, "sliding_window", "it in Mistral and Qwen models, not in Llama models");
  if (reader.find_number("partial_rotary_factor", 0, 1).value_or(1) != 1)
    unsupported(reader, "partial_rotary_factor", "only 1");
}

constexpr auto mistral_window = uint32_t{4096}; // where a Mistral's file does not have the key at all

/// By layer, as `model_config::windows` has them; empty where no layer has one that matters.
std::vector<uint32_t> read_windows(const json_reader& reader, const model_config& config, bool has_key) {
  auto window = static_cast<uint32_t>(reader.find_uint("sliding_window", 1, context_max).value_or(0));
  auto first = uint32_t{0}; // layer that has a window
  if (config.family == model_family::mistral && !has_key)
    window = mistral_window;
  if (config.family == model_family::qwen2 || config.family == model_family::qwen3) {
    if (!reader.find_bool("use_sliding_window").value_or(false))
      window = 0;
    first = static_cast<uint32_t>(reader.find_uint("max_window_layers", 0, UINT32_MAX).value_or(28));
  }
  if (window == 0)
    return {};
  auto windows = std::vector<uint32_t>(config.layers);
  auto* types = reader.find_array("layer_types");
  if (types != nullptr && types->size() != config.layers)
    reader.refuse("layer_types", fmt::format("one entry for each of the {} layers", config.layers));
  for (auto layer = uint32_t{0}; layer < config.layers; ++layer) {
    auto slides = layer >= first;
    if (types != nullptr) {
      auto* type = types->at(layer).if_string();
      if (type == nullptr || (*type != "sliding_attention" && *type != "full_attention"))
        reader.refuse("layer_types", "\"sliding_attention\" and \"full_attention\"");
      slides = *type == "sliding_attention";
    }
    windows[layer] = slides && window < config.context ? window : 0;
  }
  if (std::ranges::all_of(windows, [](uint32_t w) { return w == 0; }))
    windows.clear();
  return windows;
}

void read_eos(const json_reader& reader, uint32_t vocab, std::vector<token_id>& eos) {
  auto* value = reader.find("eos_token_id");
  if (value == nullptr)
    return;
  auto allowed = fmt::format("a token id below {} or an array of them", vocab);
  auto add = [&](const json::value& item) {
    auto error = json::error_code{};
    auto id = item.to_number<uint32_t>(error);
    if (error || id >= vocab)
      reader.refuse("eos_token_id", allowed);
    eos.push_back(static_cast<token_id>(id));
  };
  if (auto* list = value->if_array())
    std::ranges::for_each(*list, add);
  else
    add(*value);
}

} // namespace

std::string_view to_string(model_family family) noexcept {
  return std::ranges::find(families, family, &family_name::family)->type;
}

model_config load_config(const std::filesystem::path& dir) {
  auto path = dir / "config.json";
  auto object = read_json_object(path, config_bytes_max);
  auto reader = json_reader{object, path.string()};
  auto config = model_config{};
  config.family = read_family(reader);
  check_features(reader, config.family);
  config.qkv_bias = config.family == model_family::qwen2;
  config.qk_norm = config.family == model_family::qwen3;
  auto size = [&](std::string_view key, uint64_t max) {
    return static_cast<uint32_t>(reader.require_uint(key, 1, max));
  };
  config.layers = size("num_hidden_layers", 1024);
  config.hidden = size("hidden_size", 1 << 17);
  config.ffn = size("intermediate_size", 1 << 20);
  config.heads = size("num_attention_heads", 1024);
  config.vocab = size("vocab_size", 1 << 24);
  config.context = size("max_position_embeddings", context_max);
  config.kv_heads =
    static_cast<uint32_t>(reader.find_uint("num_key_value_heads", 1, config.heads).value_or(config.heads));
  if (config.heads % config.kv_heads != 0)
    reader.refuse("num_key_value_heads", fmt::format("a divisor of num_attention_heads = {}", config.heads));
  if (auto head_dim = reader.find_uint("head_dim", 2, head_dim_max))
    config.head_dim = static_cast<uint32_t>(*head_dim);
  else if (config.hidden % config.heads == 0)
    config.head_dim = config.hidden / config.heads;
  else
    reader.refuse("hidden_size",
                  fmt::format("a multiple of num_attention_heads = {} where head_dim is not given", config.heads));
  if (config.head_dim % 2 != 0 || config.head_dim > head_dim_max)
    reader.refuse("head_dim", fmt::format("an even number up to {}", head_dim_max));
  config.rms_eps = static_cast<float>(reader.find_number("rms_norm_eps", 0, 1).value_or(1e-6));
  config.tied_embeddings = reader.find_bool("tie_word_embeddings").value_or(false);
  config.rope = read_rope(reader, config.context);
  config.windows = read_windows(reader, config, object.contains("sliding_window"));
  if (auto* bos = reader.find("bos_token_id"); bos != nullptr)
    config.bos = static_cast<token_id>(*reader.find_uint("bos_token_id", 0, config.vocab - 1));
  read_eos(reader, config.vocab, config.eos);
  if (auto generation = dir / "generation_config.json"; std::filesystem::exists(generation)) {
    auto more = read_json_object(generation, config_bytes_max);
    read_eos(json_reader{more, generation.string()}, config.vocab, config.eos);
  }
  std::ranges::sort(config.eos);
  config.eos.erase(std::unique(config.eos.begin(), config.eos.end()), config.eos.end());
  return config;
}

std::string kv_fields(const model_config& config) {
  auto text = fmt::format("layers={} hidden={} ffn={} heads={} kv_heads={} head_dim={} eps={} {}", config.layers,
                          config.hidden, config.ffn, config.heads, config.kv_heads, config.head_dim, config.rms_eps,
                          rope_fields(config.rope, config.context));
  if (config.qkv_bias)
    text += " qkv_bias";
  if (config.qk_norm)
    text += " qk_norm";
  if (!config.windows.empty())
    text += fmt::format(" windows={}", fmt::join(config.windows, ","));
  return text;
}

} // namespace perigee::kernels
