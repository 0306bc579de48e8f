// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/rope.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace perigee::kernels {

namespace {

using form = rope_scaling::form;

constexpr auto context_max = uint64_t{1} << 24;

/// The attention temperature of YaRN for a factor of stretching.
double yarn_scale(double factor, double weight) {
  return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1;
}

void read_llama3(const json_reader& reader, rope_scaling& scaling) {
  scaling.low_freq_factor = reader.find_number("low_freq_factor", 1e-6, 1e6).value_or(1);
  scaling.high_freq_factor = reader.find_number("high_freq_factor", 1e-6, 1e6).value_or(4);
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    reader.refuse("high_freq_factor", "a number above low_freq_factor");
}

void read_yarn(const json_reader& reader, rope_scaling& scaling) {
  scaling.beta_fast = reader.find_number("beta_fast", 1e-6, 1e6).value_or(32);
  scaling.beta_slow = reader.find_number("beta_slow", 1e-6, 1e6).value_or(1);
  if (scaling.beta_fast <= scaling.beta_slow)
    reader.refuse("beta_fast", "a number above beta_slow");
  scaling.truncate = reader.find_bool("truncate").value_or(true);
  auto mscale = reader.find_number("mscale", 0, 1e3).value_or(0);
  auto mscale_all = reader.find_number("mscale_all_dim", 0, 1e3).value_or(0);
  if (auto given = reader.find_number("attention_factor", 1e-6, 1e6))
    scaling.attention_factor = *given;
  else if (mscale != 0 && mscale_all != 0)
    scaling.attention_factor = yarn_scale(scaling.factor, mscale) / yarn_scale(scaling.factor, mscale_all);
  else
    scaling.attention_factor = yarn_scale(scaling.factor, 1);
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
  if (*type == "longrope" || *type == "su")
    throw failure(errc::unsupported,
                  fmt::format("{}: key \"{}\" is \"{}\", whose angles depend on the length the sequence has so far; "
                              "cached keys would be wrong, so this engine supports only forms that depend on the "
                              "position: \"default\", \"linear\", \"dynamic\", \"yarn\" and \"llama3\"",
                              reader.where(), key, std::string_view{*type}));
  if (*type == "linear")
    scaling.kind = form::linear;
  else if (*type == "llama3")
    scaling.kind = form::llama3;
  else if (*type == "dynamic")
    scaling.kind = form::dynamic;
  else if (*type == "yarn")
    scaling.kind = form::yarn;
  else
    throw failure(errc::unsupported,
                  fmt::format("{}: key \"{}\" is \"{}\"; this engine supports \"default\", \"linear\", \"dynamic\", "
                              "\"yarn\" and \"llama3\"",
                              reader.where(), key, std::string_view{*type}));
  if (reader.find("factor") == nullptr)
    reader.refuse("factor", "a number from 1 to 1e6");
  scaling.factor = *reader.find_number("factor", 1, 1e6);
  if (scaling.kind == form::linear)
    return scaling;
  scaling.original_context =
    static_cast<uint32_t>(reader.find_uint("original_max_position_embeddings", 1, context_max).value_or(context));
  if (scaling.kind == form::llama3)
    read_llama3(reader, scaling);
  if (scaling.kind == form::yarn)
    read_yarn(reader, scaling);
  return scaling;
}

/// Index of the pair that turns `turns` times over the original context.
double pair_of(double turns, const rope_config& rope, uint32_t head_dim) {
  return head_dim * std::log(rope.scaling.original_context / (turns * 2 * std::numbers::pi))
         / (2 * std::log(rope.theta));
}

double stretched_llama3(double frequency, const rope_scaling& scaling) {
  auto wavelength = 2 * std::numbers::pi / frequency;
  auto turns = scaling.original_context / wavelength; // over the original context
  if (turns < scaling.low_freq_factor)
    return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor)
    return frequency;
  auto smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return frequency * ((1 - smooth) / scaling.factor + smooth);
}

double stretched_yarn(double frequency, uint32_t pair, const rope_config& rope, uint32_t head_dim) {
  const auto& scaling = rope.scaling;
  auto low = pair_of(scaling.beta_fast, rope, head_dim);
  auto high = pair_of(scaling.beta_slow, rope, head_dim);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1.0);
  if (low == high)
    high += 0.001; // the band is one pair wide
  auto stretch = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / scaling.factor * stretch + frequency * (1 - stretch);
}

} // namespace

rope_config read_rope(const json_reader& reader, uint32_t context) {
  auto rope = rope_config{};
  rope.theta = reader.find_number("rope_theta", 1, 1e12).value_or(10000);
  // Newer files keep theta and the scaling in one object.
  for (auto* key : {"rope_scaling", "rope_parameters"})
    if (auto* object = reader.find_object(key); object != nullptr) {
      auto inner = json_reader{*object, fmt::format("{}: {}", reader.where(), key)};
      rope.theta = inner.find_number("rope_theta", 1, 1e12).value_or(rope.theta);
      rope.scaling = read_scaling(inner, context);
    }
  if (rope.scaling.kind == form::yarn && rope.theta <= 1)
    reader.refuse("rope_theta", "a number above 1 with YaRN");
  return rope;
}

std::vector<double> inverse_frequencies(const rope_config& rope, uint32_t head_dim, uint32_t context) {
  const auto& scaling = rope.scaling;
  auto theta = rope.theta;
  if (scaling.kind == form::dynamic && head_dim > 2) {
    auto length = std::max(context, scaling.original_context);
    auto stretch = scaling.factor * length / scaling.original_context - (scaling.factor - 1);
    theta *= std::pow(stretch, head_dim / (head_dim - 2.0));
  }
  auto result = std::vector<double>(head_dim / 2);
  for (auto i = uint32_t{0}; i < result.size(); ++i) {
    auto frequency = std::pow(theta, -2.0 * i / head_dim);
    if (scaling.kind == form::linear)
      frequency /= scaling.factor;
    else if (scaling.kind == form::llama3)
      frequency = stretched_llama3(frequency, scaling);
    else if (scaling.kind == form::yarn)
      frequency = stretched_yarn(frequency, i, rope, head_dim);
    if (!scaling.pair_factors.empty())
      frequency /= scaling.pair_factors[i];
    result[i] = frequency;
  }
  return result;
}

std::string rope_fields(const rope_config& rope, uint32_t context) {
  const auto& s = rope.scaling;
  auto text = fmt::format("theta={} rope={},{},{},{},{}", rope.theta, static_cast<int>(s.kind), s.factor,
                          s.low_freq_factor, s.high_freq_factor, s.original_context);
  if (s.kind == form::dynamic)
    text += fmt::format(" context={}", context);
  if (s.kind == form::yarn)
    text += fmt::format(" yarn={},{},{},{}", s.beta_fast, s.beta_slow, s.truncate, s.attention_factor);
  for (auto factor : s.pair_factors)
    text += fmt::format(" {}", factor);
  return text;
}

} // namespace perigee::kernels
