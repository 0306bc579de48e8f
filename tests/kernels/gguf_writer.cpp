// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/gguf_writer.hpp"

#include "kernels/model/json_reader.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>

namespace perigee::kernels::test {

namespace json = boost::json;

namespace {

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_text(std::string& out, std::string_view text) {
  put(out, uint64_t{text.size()});
  out += text;
}

void pad(std::string& out) {
  out.append((32 - out.size() % 32) % 32, '\0');
}

} // namespace

std::string& gguf_writer::begin(std::string_view key, uint32_t type) {
  ++pairs_;
  put_text(metadata_, key);
  put(metadata_, type);
  return metadata_;
}

void gguf_writer::add(std::string_view key, uint32_t value) {
  put(begin(key, 4), value);
}
void gguf_writer::add(std::string_view key, float value) {
  put(begin(key, 6), value);
}
void gguf_writer::add(std::string_view key, bool value) {
  put(begin(key, 7), uint8_t{value});
}
void gguf_writer::add(std::string_view key, std::string_view value) {
  put_text(begin(key, 8), value);
}
void gguf_writer::add(std::string_view key, const std::vector<std::string>& values) {
  auto& out = begin(key, 9);
  put(out, uint32_t{8});
  put(out, uint64_t{values.size()});
  for (const auto& value : values)
    put_text(out, value);
}
void gguf_writer::add(std::string_view key, const std::vector<float>& values) {
  auto& out = begin(key, 9);
  put(out, uint32_t{6});
  put(out, uint64_t{values.size()});
  for (auto value : values)
    put(out, value);
}
void gguf_writer::add(std::string_view key, const std::vector<int32_t>& values) {
  auto& out = begin(key, 9);
  put(out, uint32_t{5});
  put(out, uint64_t{values.size()});
  for (auto value : values)
    put(out, value);
}
void gguf_writer::add(std::string_view key, const std::vector<bool>& values) {
  auto& out = begin(key, 9);
  put(out, uint32_t{7});
  put(out, uint64_t{values.size()});
  for (auto value : values)
    put(out, uint8_t{value});
}

std::string gguf_writer::bytes() const {
  auto out = std::string{"GGUF"};
  put(out, uint32_t{3});
  put(out, uint64_t{tensors_.size()});
  put(out, pairs_);
  out += metadata_;
  auto data = std::string{};
  for (const auto& one : tensors_) {
    put_text(out, one.name);
    put(out, static_cast<uint32_t>(one.extents.size()));
    for (auto extent : one.extents)
      put(out, extent);
    put(out, static_cast<uint32_t>(one.type));
    put(out, static_cast<uint64_t>(static_cast<int64_t>(data.size()) + one.shift));
    data += one.bytes;
    pad(data);
  }
  pad(out);
  return out + data;
}

void gguf_writer::write(const std::filesystem::path& path) const {
  std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes();
}

std::string stored_as(gguf_writer::element type, std::span<const float> values) {
  auto out = std::string{};
  if (type == gguf_writer::element::q8_0) {
    for (auto at = size_t{0}; at < values.size(); at += 32) {
      auto block = values.subspan(at, 32);
      auto largest = 0.0f;
      for (auto value : block)
        largest = std::max(largest, std::abs(value));
      auto scale = largest / 127;
      put(out, f32_to_f16(scale));
      for (auto value : block)
        put(out, static_cast<int8_t>(scale == 0 ? 0 : std::round(value / scale)));
    }
    return out;
  }
  for (auto value : values)
    if (type == gguf_writer::element::f32)
      put(out, value);
    else
      put(out, type == gguf_writer::element::f16 ? f32_to_f16(value) : f32_to_bf16(value));
  return out;
}

namespace {

/// The tokenizer.json of a golden model. Its merges become scores where it is of the SentencePiece form.
void add_tokenizer(gguf_writer& out, const model& weights) {
  const auto& config = weights.config();
  auto file = read_json_object(weights.dir() / "tokenizer.json", 1 << 24);
  const auto& vocabulary = file.at("model").as_object();
  auto pieces = std::vector<std::string>(config.vocab);
  auto kinds = std::vector<int32_t>(config.vocab, 1);
  auto fallback = vocabulary.at("byte_fallback").as_bool();
  for (const auto& [piece, id] : vocabulary.at("vocab").as_object()) {
    pieces[id.to_number<size_t>()] = piece;
    if (fallback && piece.size() == 6 && piece.starts_with("<0x"))
      kinds[id.to_number<size_t>()] = 6;
  }
  for (const auto& token : file.at("added_tokens").as_array()) {
    auto id = token.at("id").to_number<size_t>();
    auto text = std::string{token.at("content").as_string()};
    pieces[id] = text;
    kinds[id] = text == "<unk>" ? 2 : token.at("special").as_bool() ? 3 : 4;
  }
  auto merges = std::vector<std::string>{};
  auto scores = std::vector<float>(config.vocab, -1e6f);
  for (const auto& pair : vocabulary.at("merges").as_array()) {
    auto left = std::string{pair.at(0).as_string()};
    auto right = std::string{pair.at(1).as_string()};
    auto made = std::ranges::find(pieces, left + right) - pieces.begin();
    scores[static_cast<size_t>(made)] = std::max(scores[static_cast<size_t>(made)], -static_cast<float>(merges.size()));
    merges.push_back(left + " " + right);
  }
  out.add("tokenizer.ggml.model", fallback ? "llama" : "gpt2");
  out.add("tokenizer.ggml.pre", fallback ? "default" : "llama-bpe");
  out.add("tokenizer.ggml.tokens", pieces);
  out.add("tokenizer.ggml.token_type", kinds);
  if (fallback) {
    out.add("tokenizer.ggml.scores", scores);
    out.add("tokenizer.ggml.unknown_token_id", uint32_t{0});
  } else {
    out.add("tokenizer.ggml.merges", merges);
  }
  out.add("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*config.bos));
  out.add("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(config.eos.at(0)));
  if (config.eos.size() > 1)
    out.add("tokenizer.ggml.eot_token_id", static_cast<uint32_t>(config.eos.at(1)));
}

void add_config(gguf_writer& out, const model_config& config) {
  auto family = config.family == model_family::mistral ? model_family::llama : config.family;
  auto prefix = std::string{to_string(family)};
  out.add("general.architecture", to_string(family));
  out.add(prefix + ".block_count", config.layers);
  out.add(prefix + ".embedding_length", config.hidden);
  out.add(prefix + ".feed_forward_length", config.ffn);
  out.add(prefix + ".context_length", config.context);
  out.add(prefix + ".attention.head_count", config.heads);
  out.add(prefix + ".attention.head_count_kv", config.kv_heads);
  out.add(prefix + ".attention.key_length", config.head_dim);
  out.add(prefix + ".attention.value_length", config.head_dim);
  out.add(prefix + ".rope.dimension_count", config.head_dim);
  out.add(prefix + ".attention.layer_norm_rms_epsilon", config.rms_eps);
  out.add(prefix + ".rope.freq_base", static_cast<float>(config.rope.theta));
  const auto& scaling = config.rope.scaling;
  if (scaling.kind == rope_scaling::form::linear || scaling.kind == rope_scaling::form::yarn) {
    out.add(prefix + ".rope.scaling.type", scaling.kind == rope_scaling::form::linear ? "linear" : "yarn");
    out.add(prefix + ".rope.scaling.factor", static_cast<float>(scaling.factor));
    out.add(prefix + ".rope.scaling.original_context_length", scaling.original_context);
  } else if (scaling.kind != rope_scaling::form::none) { // what the format has no name for, it has as divisors
    auto plain = inverse_frequencies({config.rope.theta, {}}, config.head_dim, config.context);
    auto stretched = inverse_frequencies(config.rope, config.head_dim, config.context);
    auto factors = std::vector<float>{};
    for (auto i = size_t{0}; i < plain.size(); ++i)
      factors.push_back(static_cast<float>(plain[i] / stretched[i]));
    out.add({"rope_freqs.weight",
             {factors.size()},
             gguf_writer::element::f32,
             stored_as(gguf_writer::element::f32, factors)});
  }
  if (!config.windows.empty()) {
    out.add(prefix + ".attention.sliding_window", *std::ranges::max_element(config.windows));
    auto pattern = std::vector<bool>{};
    for (auto window : config.windows)
      pattern.push_back(window != 0);
    out.add(prefix + ".attention.sliding_window_pattern", pattern);
  }
}

void add_matrix(gguf_writer& out, std::string name, const matrix_view& from, gguf_writer::element type,
                uint32_t paired_rows = 0) {
  auto bytes = std::string{};
  auto values = std::vector<float>(from.columns);
  for (auto row = uint32_t{0}; row < from.rows; ++row) {
    auto source = row;
    if (paired_rows != 0) { // neighbours in the file are half a head apart in the directory
      auto inside = row % paired_rows;
      source = row - inside + inside / 2 + inside % 2 * (paired_rows / 2);
    }
    widen(from.row(source), from.type, values);
    bytes += stored_as(type, values);
  }
  out.add({std::move(name), {from.columns, from.rows}, type, std::move(bytes)});
}

void add_vector(gguf_writer& out, std::string name, std::span<const float> values) {
  if (!values.empty())
    out.add(
      {std::move(name), {values.size()}, gguf_writer::element::f32, stored_as(gguf_writer::element::f32, values)});
}

} // namespace

gguf_writer gguf_of(const model& from, gguf_writer::element type) {
  const auto& config = from.config();
  const auto& weights = from.weights();
  auto out = gguf_writer{};
  add_config(out, config);
  add_tokenizer(out, from);
  add_matrix(out, "token_embd.weight", weights.embedding, type);
  if (!config.tied_embeddings)
    add_matrix(out, "output.weight", weights.output, type);
  add_vector(out, "output_norm.weight", weights.final_norm);
  auto paired = config.family == model_family::llama || config.family == model_family::mistral;
  for (auto i = size_t{0}; i < weights.layers.size(); ++i) {
    const auto& layer = weights.layers[i];
    auto name = [&](const char* part) { return "blk." + std::to_string(i) + "." + part; };
    add_vector(out, name("attn_norm.weight"), layer.attention_norm);
    add_vector(out, name("ffn_norm.weight"), layer.ffn_norm);
    add_vector(out, name("attn_q_norm.weight"), layer.q_norm);
    add_vector(out, name("attn_k_norm.weight"), layer.k_norm);
    if (auto bias = std::span{layer.qkv_bias}; !bias.empty()) {
      add_vector(out, name("attn_q.bias"), bias.first(config.q_width()));
      add_vector(out, name("attn_k.bias"), bias.subspan(config.q_width(), config.kv_width()));
      add_vector(out, name("attn_v.bias"), bias.last(config.kv_width()));
    }
    add_matrix(out, name("attn_q.weight"), layer.q, type, paired ? config.head_dim : 0);
    add_matrix(out, name("attn_k.weight"), layer.k, type, paired ? config.head_dim : 0);
    add_matrix(out, name("attn_v.weight"), layer.v, type);
    add_matrix(out, name("attn_output.weight"), layer.o, type);
    add_matrix(out, name("ffn_gate.weight"), layer.gate, type);
    add_matrix(out, name("ffn_up.weight"), layer.up, type);
    add_matrix(out, name("ffn_down.weight"), layer.down, type);
  }
  return out;
}

} // namespace perigee::kernels::test
