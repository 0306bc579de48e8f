// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/dtype.hpp"
#include "kernels/model/mapped_file.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace perigee::kernels {

/// One tensor of a mapped file. `bytes` need not be aligned to the element.
struct tensor_view {
  std::optional<dtype> type; ///< nothing for element types this engine does not compute with
  std::string type_name;     ///< as the file spells it
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;
  /// Rows of a head whose rotated pairs are neighbours; 0: a pair stands half a head apart, as the engine wants it.
  uint32_t paired_rows = 0;
};

/// "2, 3, 4"
std::string shape_text(std::span<const uint64_t> shape);

class gguf_file;

/// All tensors of a model under their names in a Hugging Face directory: `model.safetensors`, the shards that
/// `model.safetensors.index.json` lists, or a GGUF file. The files stay mapped for the object's life. Everything in the
/// headers is checked before a byte of a tensor is used. Format: 8 bytes little-endian header size, JSON header, tensor
/// data without gaps or overlaps.
class tensor_store {
public:
  /// Throws `failure` (not_found, invalid_argument) naming the file, and the tensor or key.
  explicit tensor_store(const std::filesystem::path& dir);
  /// Without tensors.
  tensor_store() = default;
  /// Of a GGUF file. Names without a counterpart stay as they are.
  explicit tensor_store(gguf_file file);

  /// Null where no file has it.
  const tensor_view* find(const std::string& name) const;
  /// Throws `failure` when it is missing, has another shape, or an element type that is not f32, f16 or bf16.
  const tensor_view& require(const std::string& name, std::span<const uint64_t> shape) const;

  const std::map<std::string, tensor_view>& tensors() const noexcept {
    return tensors_;
  }
  const std::vector<std::filesystem::path>& files() const noexcept {
    return paths_;
  }

private:
  void add_file(const std::filesystem::path& path);

  std::filesystem::path dir_; ///< or file
  std::vector<std::filesystem::path> paths_;
  std::vector<mapped_file> maps_;
  std::map<std::string, tensor_view> tensors_;
  std::map<std::string, size_t> file_of_; ///< index into `paths_`
};

} // namespace perigee::kernels
