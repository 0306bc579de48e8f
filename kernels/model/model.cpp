// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/model.hpp"

#include "kernels/cpu/packed_weights.hpp"
#include "kernels/model/fingerprint.hpp"
#include "kernels/model/gguf_model.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

namespace perigee::kernels {

namespace {

constexpr auto kv_layout_version = 1;

const std::filesystem::path& existing(const std::filesystem::path& dir) {
  if (!std::filesystem::is_directory(dir))
    throw failure(errc::not_found,
                  fmt::format("{}: is not a directory; name a directory with config.json, tokenizer.json "
                              "and *.safetensors, or a GGUF file",
                              dir.string()));
  return dir;
}

} // namespace

std::shared_ptr<const model> model::load(const std::filesystem::path& path, const load_options& options) {
  if (std::filesystem::is_regular_file(path))
    return std::shared_ptr<const model>(new model(gguf_file{path}, options));
  return std::shared_ptr<const model>(new model(path, options));
}

model::model(const std::filesystem::path& dir, const load_options& options)
  : options_(options), dir_(existing(dir)), config_(load_config(dir)), tokens_(dir / "tokenizer.json"), tensors_(dir),
    weights_(view_weights(tensors_, config_)) {}

model::model(gguf_file file, const load_options& options)
  : options_(options), dir_(file.path()), tokenizer_config_(gguf_tokenizer_config(file)), config_(gguf_config(file)),
    tokens_(gguf_tokenizer(file)), tensors_(std::move(file)), weights_(view_weights(tensors_, config_)) {}

model::model(std::string name, model_config config, tokenizer tokens, std::vector<std::byte> memory,
             transformer_weights weights, const load_options& options)
  : options_(options), dir_(std::move(name)), config_(std::move(config)), tokens_(std::move(tokens)),
    memory_(std::move(memory)), weights_(std::move(weights)) {}

std::shared_ptr<const model> model::of_memory(std::string name, model_config config, tokenizer tokens,
                                              std::vector<std::byte> memory, transformer_weights weights,
                                              const load_options& options) {
  return std::shared_ptr<const model>(
    new model(std::move(name), std::move(config), std::move(tokens), std::move(memory), std::move(weights), options));
}

model::~model() = default;

kv_layout model::layout(uint32_t block_tokens) const noexcept {
  auto token_bytes = 2 * uint64_t{config_.kv_width()} * size_of(kv_type());
  return {config_.layers, block_tokens, token_bytes * block_tokens};
}

std::string model::fingerprint(uint32_t block_tokens, const progress& tell) const {
  std::call_once(digest_once_, [&] { digest_ = tensor_digest(tensors_, tell); });
  auto text = fmt::format("perigee kv {}\n{}\nkv={} block_tokens={}\n{}\n", kv_layout_version, kv_fields(config_),
                          to_string(kv_type()), block_tokens, digest_);
  if (options_.int8)
    text += "weights rounded to int8\n";
  return sha256_hex(std::as_bytes(std::span{text}));
}

const cpu::packed_weights& model::packed() const {
  pack({});
  return *packed_;
}

void model::pack(const progress& tell) const {
  std::call_once(packed_once_,
                 [&] { packed_ = std::make_unique<cpu::packed_weights>(weights_, options_.int8, tell); });
}

} // namespace perigee::kernels
