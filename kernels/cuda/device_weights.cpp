// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device_weights.hpp"

#include "kernels/cuda/wait.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace perigee::kernels::cuda {

namespace {

constexpr auto load_deadline_ns = uint64_t{600} * 1'000'000'000;

void check(const model_config& config) {
  auto multiple_of_8 = [](std::string_view name, uint32_t value) {
    if (value == 0 || value % 8 != 0)
      throw failure(
        errc::unsupported,
        fmt::format("the CUDA backend wants {} in multiples of 8; this model has {}; use the CPU", name, value));
  };
  multiple_of_8("hidden_size", config.hidden);
  multiple_of_8("intermediate_size", config.ffn);
  multiple_of_8("head_dim", config.head_dim);
  if (config.head_dim > 128)
    throw failure(errc::unsupported, fmt::format("the CUDA backend's attention has heads of up to 128 elements; this "
                                                 "model has {}; use the CPU",
                                                 config.head_dim));
  if (config.vocab > 1u << 19)
    throw failure(errc::unsupported, fmt::format("the CUDA backend samples from at most {} ids; this model has {}; use "
                                                 "the CPU",
                                                 1u << 19, config.vocab));
}

device_array<float> upload(machine& on, const std::vector<float>& values) {
  if (values.empty())
    return {};
  auto memory = device_array<float>{on, values.size()};
  on.upload(queue::compute, memory.data(), values.data(), values.size() * sizeof(float));
  return memory;
}

/// The rows of some matrices, one after the other.
device_array<uint16_t> upload(machine& on, std::initializer_list<const matrix_view*> parts) {
  auto count = size_t{0};
  for (const auto* part : parts)
    count += part->bytes.size() / 2;
  auto memory = device_array<uint16_t>{on, count};
  auto* to = reinterpret_cast<std::byte*>(memory.data());
  for (const auto* part : parts) {
    if (part->paired_rows == 0) {
      on.upload(queue::compute, to, part->bytes.data(), part->bytes.size());
    } else {
      for (auto row = uint32_t{0}; row < part->rows; ++row) {
        auto bytes = part->row(row);
        on.upload(queue::compute, to + row * bytes.size(), bytes.data(), bytes.size());
      }
    }
    to += part->bytes.size();
  }
  return memory;
}

device_array<float> upload_angles(machine& on, const model_config& config, uint32_t positions) {
  auto frequencies = inverse_frequencies(config.rope, config.head_dim, config.context);
  auto half = config.head_dim / 2;
  auto scale = config.rope.scaling.attention_factor;
  auto angles = std::vector<float>(size_t{positions} * config.head_dim);
  for (auto position = uint32_t{0}; position < positions; ++position)
    for (auto pair = uint32_t{0}; pair < half; ++pair) {
      auto angle = position * frequencies[pair];
      angles[size_t{position} * config.head_dim + pair] = static_cast<float>(scale * std::cos(angle));
      angles[size_t{position} * config.head_dim + half + pair] = static_cast<float>(scale * std::sin(angle));
    }
  return upload(on, angles);
}

} // namespace

uint64_t device_weights::bytes() const noexcept {
  auto total = uint64_t{config.vocab} * config.hidden;
  for (const auto& one : layers)
    total += one.qkv.size() + one.o.size() + one.gate_up.size() + one.down.size();
  return 2 * total;
}

device_weights upload_weights(machine& on, const model& from, uint32_t positions) {
  const auto& weights = from.weights();
  if (weights.type != dtype::bf16)
    throw failure(errc::unsupported,
                  fmt::format("the CUDA backend computes bf16 models; this one is {}; convert it, or "
                              "use the CPU",
                              to_string(weights.type)));
  check(from.config());
  auto result = device_weights{};
  result.config = from.config();
  result.embedding = upload(on, {&weights.embedding});
  if (weights.output.bytes.data() != weights.embedding.bytes.data())
    result.output = upload(on, {&weights.output});
  result.final_norm = upload(on, weights.final_norm);
  result.angles = upload_angles(on, result.config, std::min(positions, result.config.context));
  for (const auto& in : weights.layers) {
    auto out = device_weights::layer{};
    out.qkv = upload(on, {&in.q, &in.k, &in.v});
    out.o = upload(on, {&in.o});
    out.gate_up = upload(on, {&in.gate, &in.up});
    out.down = upload(on, {&in.down});
    out.attention_norm = upload(on, in.attention_norm);
    out.ffn_norm = upload(on, in.ffn_norm);
    out.qkv_bias = upload(on, in.qkv_bias);
    out.q_norm = upload(on, in.q_norm);
    out.k_norm = upload(on, in.k_norm);
    result.layers.push_back(std::move(out));
  }
  wait_for_queue(on, queue::compute, load_deadline_ns); // the file may go away afterwards
  return result;
}

device_weights random_weights(machine& on, const model_config& config) {
  check(config);
  auto result = device_weights{};
  result.config = config;
  // Some megabytes of random numbers, again and again: what matters is that they are neither equal nor zero.
  auto state = uint32_t{1};
  auto source = std::vector<uint16_t>(size_t{4} << 20);
  for (auto& number : source) {
    state = state * 1664525 + 1013904223;
    number =
      f32_to_bf16((static_cast<float>(state >> 8) / (1 << 23) - 1) / std::sqrt(static_cast<float>(config.hidden)));
  }
  auto matrix = [&](size_t count) {
    auto memory = device_array<uint16_t>{on, count};
    for (auto at = size_t{0}; at < count; at += source.size())
      on.upload(queue::compute, memory.data() + at, source.data(), 2 * std::min(source.size(), count - at));
    return memory;
  };
  auto ones = std::vector<float>(config.hidden, 1.0f);
  result.embedding = matrix(size_t{config.vocab} * config.hidden);
  result.output = matrix(size_t{config.vocab} * config.hidden);
  result.final_norm = upload(on, ones);
  result.angles = upload_angles(on, config, config.context);
  for (auto i = uint32_t{0}; i < config.layers; ++i) {
    auto out = device_weights::layer{};
    out.qkv = matrix(size_t{config.q_width() + 2 * config.kv_width()} * config.hidden);
    out.o = matrix(size_t{config.q_width()} * config.hidden);
    out.gate_up = matrix(size_t{2} * config.ffn * config.hidden);
    out.down = matrix(size_t{config.ffn} * config.hidden);
    out.attention_norm = upload(on, ones);
    out.ffn_norm = upload(on, ones);
    result.layers.push_back(std::move(out));
  }
  wait_for_queue(on, queue::compute, load_deadline_ns);
  return result;
}

} // namespace perigee::kernels::cuda
