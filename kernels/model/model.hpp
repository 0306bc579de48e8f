// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kv_layout.hpp"
#include "kernels/model/config.hpp"
#include "kernels/model/tokenizer.hpp"
#include "kernels/model/weights.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace perigee::kernels {

namespace cpu {
class packed_weights;
}
class gguf_file;

struct load_options {
  bool int8 = false; ///< matrices are rounded to int8 with a scale for 32 neighbours; Q8_0 files are so already
};

/// A loaded model: config, tokenizer and mapped weights. Immutable, shared by every stream of the process; all members
/// may be called from several threads.
class model {
public:
  /// Loads a Hugging Face directory or a GGUF file. Throws `failure` that names the file, and the key or tensor.
  static std::shared_ptr<const model> load(const std::filesystem::path& path, const load_options& options = {});
  /// A model that has no files: `weights` are views into `memory`. Its fingerprint is of no use to others.
  static std::shared_ptr<const model> of_memory(std::string name, model_config config, tokenizer tokens,
                                                std::vector<std::byte> memory, transformer_weights weights,
                                                const load_options& options);
  ~model();

  /// Told which share is done: grows to 1, not often. From several threads.
  using progress = std::function<void(double share)>;

  /// The directory, or the GGUF file.
  const std::filesystem::path& dir() const noexcept {
    return dir_;
  }
  /// What a GGUF file says in the place of a directory's tokenizer_config.json, as JSON text; empty for a directory.
  const std::string& embedded_tokenizer_config() const noexcept {
    return tokenizer_config_;
  }
  const model_config& config() const noexcept {
    return config_;
  }
  const tokenizer& tokens() const noexcept {
    return tokens_;
  }
  const transformer_weights& weights() const noexcept {
    return weights_;
  }
  dtype kv_type() const noexcept {
    return weights_.type == dtype::q8_0 ? dtype::bf16 : weights_.type;
  }
  /// Whether the matrices are computed as int8.
  bool int8() const noexcept {
    return options_.int8 || weights_.type == dtype::q8_0;
  }
  /// How the KV of this model lies in a pool (within a layer: K as [kv_heads, head_dim, block_tokens], then V as
  /// [kv_heads, block_tokens, head_dim]).
  kv_layout layout(uint32_t block_tokens) const noexcept;

  /// 64 hexadecimal digits that name what its KV blocks hold: all tensor bytes, the config fields that affect KV, KV
  /// type, `block_tokens` and the version of the layout. The first call may read all weights, and tells how far it is.
  std::string fingerprint(uint32_t block_tokens, const progress& tell = {}) const;

  /// The matrices in the order the CPU kernels read them; made on first use, on all cores.
  const cpu::packed_weights& packed() const;
  /// Makes them, unless somebody has.
  void pack(const progress& tell) const;

private:
  model(const std::filesystem::path& dir, const load_options& options);
  model(gguf_file file, const load_options& options);
  model(std::string name, model_config config, tokenizer tokens, std::vector<std::byte> memory,
        transformer_weights weights, const load_options& options);

  load_options options_;
  std::filesystem::path dir_;
  std::string tokenizer_config_;
  model_config config_;
  tokenizer tokens_;
  tensor_store tensors_;
  std::vector<std::byte> memory_;
  transformer_weights weights_;
  mutable std::once_flag digest_once_;
  mutable std::string digest_;
  mutable std::once_flag packed_once_;
  mutable std::unique_ptr<const cpu::packed_weights> packed_;
};

} // namespace perigee::kernels
