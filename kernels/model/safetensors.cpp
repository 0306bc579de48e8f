// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/safetensors.hpp"

#include "kernels/model/json_reader.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace perigee::kernels {

namespace json = boost::json;

namespace {

constexpr auto header_bytes_max = uint64_t{100'000'000}; // the format's own limit
constexpr auto index_bytes_max = uint64_t{64} << 20;
constexpr auto dimensions_max = size_t{8};

struct element {
  std::string_view name;
  uint64_t bytes;
};
constexpr auto elements =
  std::array{element{"F32", 4}, element{"F16", 2}, element{"BF16", 2}, element{"F64", 8},     element{"I64", 8},
             element{"I32", 4}, element{"I16", 2}, element{"I8", 1},   element{"U64", 8},     element{"U32", 4},
             element{"U16", 2}, element{"U8", 1},  element{"BOOL", 1}, element{"F8_E4M3", 1}, element{"F8_E5M2", 1}};

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw failure(errc::invalid_argument, where + ": " + what);
}

std::optional<dtype> computed_type(std::string_view name) {
  if (name == "F32")
    return dtype::f32;
  if (name == "F16")
    return dtype::f16;
  if (name == "BF16")
    return dtype::bf16;
  return std::nullopt;
}

} // namespace

std::string shape_text(std::span<const uint64_t> shape) {
  auto text = std::string{};
  for (auto extent : shape) {
    text += text.empty() ? "" : ", ";
    text += std::to_string(extent);
  }
  return text;
}

namespace {

uint64_t byte_count(const std::vector<uint64_t>& shape, uint64_t element_bytes, const std::string& where) {
  auto total = element_bytes;
  for (auto extent : shape)
    if (__builtin_mul_overflow(total, extent, &total))
      refuse(where, fmt::format("shape [{}] has more bytes than 64 bits count", shape_text(shape)));
  return total;
}

struct entry {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string name;
  tensor_view view;
};

entry read_entry(std::string_view name, const json::value& value, uint64_t data_bytes, const std::string& file) {
  auto where = fmt::format("{}: tensor \"{}\"", file, name);
  auto* object = value.if_object();
  if (object == nullptr)
    refuse(where, fmt::format("must be an object, found {}", brief(value)));
  auto reader = json_reader{*object, where};
  auto result = entry{};
  result.name = name;
  result.view.type_name = std::string{reader.require_string("dtype")};
  result.view.type = computed_type(result.view.type_name);
  auto known = std::ranges::find(elements, std::string_view{result.view.type_name}, &element::name);
  if (known == elements.end())
    reader.refuse("dtype", "a safetensors element type");
  const auto& shape = reader.require_array("shape");
  if (shape.size() > dimensions_max)
    reader.refuse("shape", fmt::format("at most {} dimensions", dimensions_max));
  auto integers = [&](std::string_view key, const json::array& list) {
    auto out = std::vector<uint64_t>{};
    for (const auto& item : list) {
      auto error = json::error_code{};
      out.push_back(item.to_number<uint64_t>(error));
      if (error)
        reader.refuse(key, fmt::format("non-negative integers, but it holds {}", brief(item)));
    }
    return out;
  };
  result.view.shape = integers("shape", shape);
  auto offsets = integers("data_offsets", reader.require_array("data_offsets"));
  if (offsets.size() != 2)
    reader.refuse("data_offsets", "two integers");
  result.begin = offsets[0];
  result.end = offsets[1];
  if (result.begin > result.end || result.end > data_bytes)
    refuse(where, fmt::format("data_offsets [{}, {}] reach outside the file's {} bytes of data", result.begin,
                              result.end, data_bytes));
  auto wanted = byte_count(result.view.shape, known->bytes, where);
  if (wanted != result.end - result.begin)
    refuse(where, fmt::format("shape [{}] of {} needs {} bytes, but data_offsets span {}",
                              shape_text(result.view.shape), result.view.type_name, wanted, result.end - result.begin));
  return result;
}

/// `{"weight_map": {tensor: file}}`: file names, in order of first use.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  auto object = read_json_object(path, index_bytes_max);
  auto reader = json_reader{object, path.string()};
  auto result = std::map<std::string, std::string>{};
  for (const auto& [name, value] : reader.require_object("weight_map")) {
    auto where =
      fmt::format("{}: weight_map: tensor \"{}\"", path.string(), std::string_view{name.data(), name.size()});
    auto* text = value.if_string();
    if (text == nullptr)
      refuse(where, fmt::format("must be a file name, found {}", brief(value)));
    auto file = std::string{*text};
    // A model directory must not make us read elsewhere.
    if (file.empty() || file.find('/') != std::string::npos || file.find('\0') != std::string::npos || file[0] == '.')
      refuse(where, fmt::format("names the file \"{}\"; allowed: a plain file name in the same directory", file));
    result.emplace(std::string{name}, std::move(file));
  }
  return result;
}

} // namespace

tensor_store::tensor_store(const std::filesystem::path& dir) : dir_(dir) {
  auto index_path = dir / "model.safetensors.index.json";
  if (!std::filesystem::exists(index_path)) {
    add_file(dir / "model.safetensors");
    return;
  }
  auto index = read_index(index_path);
  auto files = std::vector<std::string>{};
  for (const auto& [name, file] : index)
    files.push_back(file);
  std::ranges::sort(files);
  files.erase(std::unique(files.begin(), files.end()), files.end());
  for (const auto& file : files)
    add_file(dir / file);
  for (const auto& [name, file] : index) {
    auto found = file_of_.find(name);
    if (found == file_of_.end())
      refuse(index_path.string(), fmt::format("weight_map: tensor \"{}\" is not in {}", name, file));
    if (paths_[found->second].filename() != file)
      refuse(index_path.string(), fmt::format("weight_map: tensor \"{}\" is in {}, not in {}", name,
                                              paths_[found->second].filename().string(), file));
  }
}

void tensor_store::add_file(const std::filesystem::path& path) {
  auto map = mapped_file{path};
  auto bytes = map.bytes();
  auto where = path.string();
  if (bytes.size() < 8)
    refuse(where, fmt::format("is truncated: {} bytes, at least 8 are needed", bytes.size()));
  auto header_bytes = uint64_t{0};
  for (auto i = 0; i < 8; ++i)
    header_bytes |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  if (header_bytes > header_bytes_max || header_bytes > bytes.size() - 8)
    refuse(where, fmt::format("says its header has {} bytes; the file has {} after the size, the format allows {}",
                              header_bytes, bytes.size() - 8, header_bytes_max));
  auto text = std::string_view{reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes};
  auto header = parse_json_object(text, where + ": header");
  auto data = bytes.subspan(8 + header_bytes);
  auto entries = std::vector<entry>{};
  for (const auto& [name, value] : header)
    if (name != "__metadata__")
      entries.push_back(read_entry({name.data(), name.size()}, value, data.size(), where));
  std::ranges::sort(entries, {}, [](const entry& e) { return std::tie(e.begin, e.end, e.name); });
  auto at = uint64_t{0};
  for (auto& e : entries) {
    if (e.begin < at)
      refuse(where, fmt::format("tensor \"{}\" at [{}, {}) overlaps the tensor before it, which ends at {}", e.name,
                                e.begin, e.end, at));
    if (e.begin > at)
      refuse(where, fmt::format("{} bytes before tensor \"{}\" belong to no tensor", e.begin - at, e.name));
    at = e.end;
    e.view.bytes = data.subspan(e.begin, e.end - e.begin);
    if (!file_of_.emplace(e.name, paths_.size()).second)
      refuse(where, fmt::format("tensor \"{}\" is also in {}", e.name, paths_[file_of_[e.name]].string()));
    tensors_.emplace(std::move(e.name), std::move(e.view));
  }
  if (at != data.size())
    refuse(where, fmt::format("{} bytes after the last tensor belong to no tensor", data.size() - at));
  paths_.push_back(path);
  maps_.push_back(std::move(map));
}

const tensor_view* tensor_store::find(const std::string& name) const {
  auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const tensor_view& tensor_store::require(const std::string& name, std::span<const uint64_t> shape) const {
  auto* tensor = find(name);
  if (tensor == nullptr)
    refuse(dir_.string(), fmt::format("tensor \"{}\" is missing", name));
  if (!std::ranges::equal(tensor->shape, shape))
    refuse(dir_.string(), fmt::format("tensor \"{}\" has shape [{}]; the configuration asks for [{}]", name,
                                      shape_text(tensor->shape), shape_text(shape)));
  if (!tensor->type)
    throw failure(
      errc::unsupported,
      fmt::format("{}: tensor \"{}\" has element type {}; this engine supports F32, F16, BF16 and, in GGUF files, Q8_0",
                  dir_.string(), name, tensor->type_name));
  return *tensor;
}

} // namespace perigee::kernels
