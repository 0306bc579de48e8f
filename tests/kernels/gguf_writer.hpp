// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::kernels::test {

/// Puts a GGUF file together, right or wrong.
class gguf_writer {
public:
  /// Element types by their number in the format.
  enum class element : uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };

  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) {
    add(key, std::string_view{value});
  }
  void add(std::string_view key, const std::vector<std::string>& values);
  void add(std::string_view key, const std::vector<float>& values);
  void add(std::string_view key, const std::vector<int32_t>& values);
  void add(std::string_view key, const std::vector<bool>& values);

  struct tensor {
    std::string name;
    std::vector<uint64_t> extents; ///< columns first
    element type = element::f32;
    std::string bytes;
    int64_t shift = 0; ///< added to the offset that the file states
  };
  void add(tensor one) {
    tensors_.push_back(std::move(one));
  }
  std::vector<tensor>& tensors() {
    return tensors_;
  }

  /// The file; version 3, alignment 32.
  std::string bytes() const;
  void write(const std::filesystem::path& path) const;

private:
  std::string& begin(std::string_view key, uint32_t type);

  std::string metadata_;
  uint64_t pairs_ = 0;
  std::vector<tensor> tensors_;
};

/// `values` as the format stores them; Q8_0 needs a multiple of 32.
std::string stored_as(gguf_writer::element type, std::span<const float> values);

/// A loaded Hugging Face model with the tokenizer of its directory as a GGUF file whose matrices have type `type`.
gguf_writer gguf_of(const model& weights, gguf_writer::element type);

} // namespace perigee::kernels::test
