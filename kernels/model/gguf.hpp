// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/mapped_file.hpp"
#include "kernels/model/safetensors.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::kernels {

struct gguf_value;
using gguf_array = std::vector<gguf_value>;

/// One value of a GGUF file's metadata. Integers and floats of all widths come as the widest of their kind.
struct gguf_value {
  std::variant<uint64_t, int64_t, double, bool, std::string, gguf_array> value;
};

/// A GGUF file (versions 2 and 3, little-endian): metadata and tensors. Everything in the header is checked before it
/// is used: lengths, types, counts, that tensors lie inside the file and do not overlap. Format: magic, version,
/// counts; metadata (key, type, value); tensor entries (name, extents, type, offset); padding to the alignment; tensor
/// data.
class gguf_file {
public:
  /// Throws `failure` (not_found, invalid_argument, unsupported) naming the file, and the key or tensor.
  explicit gguf_file(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept {
    return path_;
  }
  /// As the file names them; shapes have the rows first, as in safetensors.
  const std::map<std::string, tensor_view>& tensors() const noexcept {
    return tensors_;
  }

  /// Null where absent.
  const gguf_value* find(const std::string& key) const;
  /// Typed reading; each throws `failure` (invalid_argument) where the key holds another type or is out of range.
  std::optional<uint64_t> find_uint(const std::string& key, uint64_t min, uint64_t max) const;
  uint64_t require_uint(const std::string& key, uint64_t min, uint64_t max) const;
  std::optional<double> find_number(const std::string& key, double min, double max) const;
  std::optional<bool> find_bool(const std::string& key) const;
  /// Null where absent; points into the object.
  const std::string* find_string(const std::string& key) const;
  const std::string& require_string(const std::string& key) const;
  const gguf_array* find_array(const std::string& key) const;
  const gguf_array& require_array(const std::string& key) const;
  /// Throws: `file: key "key" is <found>; allowed: <allowed>`.
  [[noreturn]] void refuse(const std::string& key, std::string_view allowed) const;

  /// Gives the mapping away: the spans of `tensors()` stay valid as long as the result lives.
  mapped_file take_map() && {
    return std::move(map_);
  }

private:
  std::filesystem::path path_;
  mapped_file map_;
  std::map<std::string, gguf_value> metadata_;
  std::map<std::string, tensor_view> tensors_;
};

} // namespace perigee::kernels
