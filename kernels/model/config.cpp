// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/config.hpp"

#include "kernels/model/json_reader.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto config_bytes_max = uint64_t{1} << 20;
constexpr auto context_max = uint64_t{1} << 24;
constexpr auto head_dim_max = uint64_t{512}; // bounds the scratch of attention

[[noreturn]] void unsupported(const json_reader& reader, std::string_view key, std::string_view supported) {
  auto* value = reader.find(key);
  throw failure(errc::unsupported, fmt::format("{}: key \"{}\" is {}; this engine supports {}", reader.where(), key,
                                               value == nullptr ? "missing" : brief(*value), supported));
}

void require_absent_or_false(const json_reader& reader, std::string_view key) {
  if (reader.find_bool(key).value_or(false))
    unsupported(reader, key, "only false");
}

void check_family(const json_reader& reader) {
  auto* architectures = reader.find_array("architectures");
  if (architectures != nullptr && !architectures->empty()) {
    if (!std::ranges::any_of(*architectures, [](const json::value& name) { return name == "LlamaForCausalLM"; }))
      unsupported(reader, "architectures", "\"LlamaForCausalLM\"");
  } else if (auto* type = reader.find_string("model_type"); type == nullptr || *type != "llama") {
    unsupported(reader, "model_type", "\"llama\"");
  }
  if (auto* act = reader.find_string("hidden_act"); act != nullptr && *act != "silu")
    unsupported(reader, "hidden_act", "\"silu\"");
  require_absent_or_false(reader, "attention_bias");
  require_absent_or_false(reader, "mlp_bias");
  for (auto* key : {"quantization_config", "sliding_window"})
    if (reader.find(key) != nullptr)
      unsupported(reader, key, "only models without it");
  if (reader.find_number("partial_rotary_factor", 0, 1).value_or(1) != 1)
    unsupported(reader, "partial_rotary_factor", "only 1");
}

rope_scaling read_scaling(const json_reader& reader, uint32_t context) {
  auto scaling = rope_scaling{};
  auto* type = reader.find_string("rope_type");
  auto key = std::string_view{"rope_type"};
  if (type == nullptr) { // the key's older name
    type = reader.find_string("type");
    key = "type";
  }
  if (type == nullptr || *type == "default")
    return scaling;
  if (*type != "linear" && *type != "llama3")
    unsupported(reader, key, "\"default\", \"linear\" and \"llama3\"");
  if (reader.find("factor") == nullptr)
    reader.refuse("factor", "a number from 1 to 1e6");
  scaling.factor = *reader.find_number("factor", 1, 1e6);
  if (*type == "linear") {
    scaling.kind = rope_scaling::form::linear;
    return scaling;
  }
  scaling.kind = rope_scaling::form::llama3;
  scaling.low_freq_factor = reader.find_number("low_freq_factor", 1e-6, 1e6).value_or(1);
  scaling.high_freq_factor = reader.find_number("high_freq_factor", 1e-6, 1e6).value_or(4);
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    reader.refuse("high_freq_factor", "a number above low_freq_factor");
  scaling.original_context =
    static_cast<uint32_t>(reader.find_uint("original_max_position_embeddings", 1, context_max).value_or(context));
  return scaling;
}

void read_rope(const json_reader& reader, model_config& config) {
  config.rope_theta = reader.find_number("rope_theta", 1, 1e12).value_or(10000);
  // Newer files keep theta and the scaling in one object.
  for (auto* key : {"rope_scaling", "rope_parameters"})
    if (auto* object = reader.find_object(key); object != nullptr) {
      auto inner = json_reader{*object, fmt::format("{}: {}", reader.where(), key)};
      config.rope_theta = inner.find_number("rope_theta", 1, 1e12).value_or(config.rope_theta);
      config.scaling = read_scaling(inner, config.context);
    }
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

model_config load_config(const std::filesystem::path& dir) {
  auto path = dir / "config.json";
  auto object = read_json_object(path, config_bytes_max);
  auto reader = json_reader{object, path.string()};
  check_family(reader);
  auto config = model_config{};
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
  read_rope(reader, config);
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

std::vector<double> inverse_frequencies(const model_config& config) {
  auto half = config.head_dim / 2;
  auto result = std::vector<double>(half);
  const auto& scaling = config.scaling;
  for (auto i = uint32_t{0}; i < half; ++i) {
    auto frequency = std::pow(config.rope_theta, -2.0 * i / config.head_dim);
    if (scaling.kind == rope_scaling::form::linear) {
      frequency /= scaling.factor;
    } else if (scaling.kind == rope_scaling::form::llama3) {
      auto wavelength = 2 * std::numbers::pi / frequency;
      auto turns = scaling.original_context / wavelength; // over the original context
      if (turns < scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (turns <= scaling.high_freq_factor) {
        auto smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency *= (1 - smooth) / scaling.factor + smooth;
      }
    }
    result[i] = frequency;
  }
  return result;
}

std::string kv_fields(const model_config& config) {
  const auto& s = config.scaling;
  return fmt::format("layers={} hidden={} ffn={} heads={} kv_heads={} head_dim={} eps={} theta={} rope={},{},{},{},{}",
                     config.layers, config.hidden, config.ffn, config.heads, config.kv_heads, config.head_dim,
                     config.rms_eps, config.rope_theta, static_cast<int>(s.kind), s.factor, s.low_freq_factor,
                     s.high_freq_factor, s.original_context);
}

} // namespace perigee::kernels
