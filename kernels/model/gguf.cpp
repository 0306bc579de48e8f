// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/gguf.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace perigee::kernels {

namespace {

constexpr auto entries_max = uint64_t{1} << 20; // of metadata, and of tensors
constexpr auto array_max = uint64_t{1} << 24;
constexpr auto name_bytes_max = uint64_t{1} << 16;
constexpr auto dimensions_max = uint32_t{4};
constexpr auto default_alignment = uint64_t{32};

/// Element types by their number in the file: `block` elements take `bytes`.
struct element {
  uint32_t number;
  std::string_view name;
  uint64_t block;
  uint64_t bytes;
  std::optional<dtype> type;
};
constexpr auto elements =
  std::array{element{0, "F32", 1, 4, dtype::f32},         element{1, "F16", 1, 2, dtype::f16},
             element{2, "Q4_0", 32, 18, std::nullopt},    element{3, "Q4_1", 32, 20, std::nullopt},
             element{6, "Q5_0", 32, 22, std::nullopt},    element{7, "Q5_1", 32, 24, std::nullopt},
             element{8, "Q8_0", 32, 34, dtype::q8_0},     element{10, "Q2_K", 256, 84, std::nullopt},
             element{11, "Q3_K", 256, 110, std::nullopt}, element{12, "Q4_K", 256, 144, std::nullopt},
             element{13, "Q5_K", 256, 176, std::nullopt}, element{14, "Q6_K", 256, 210, std::nullopt},
             element{24, "I8", 1, 1, std::nullopt},       element{25, "I16", 1, 2, std::nullopt},
             element{26, "I32", 1, 4, std::nullopt},      element{27, "I64", 1, 8, std::nullopt},
             element{28, "F64", 1, 8, std::nullopt},      element{30, "BF16", 1, 2, dtype::bf16}};

/// Numbers of the types of metadata.
enum class kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// Reads the header from front to back; never beyond the end.
class cursor {
public:
  cursor(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& what) const {
    throw failure(errc::invalid_argument, fmt::format("{}: {}", file_, what));
  }

  /// `about` names what is read, for the error of a file that ends too early.
  template <class T>
  T number(std::string_view about) {
    auto value = T{};
    std::memcpy(&value, take(sizeof(T), about).data(), sizeof(T));
    return value;
  }
  std::string text(uint64_t bytes_max, std::string_view about) {
    auto size = number<uint64_t>(about);
    if (size > bytes_max)
      refuse(fmt::format("{} has a text of {} bytes; allowed: {}", about, size, bytes_max));
    auto bytes = take(size, about);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  uint64_t left() const noexcept {
    return bytes_.size() - at_;
  }
  uint64_t at() const noexcept {
    return at_;
  }

  gguf_value value(kind type, const std::string& about, bool inside_array) {
    switch (type) {
    case kind::u8: return {uint64_t{number<uint8_t>(about)}};
    case kind::u16: return {uint64_t{number<uint16_t>(about)}};
    case kind::u32: return {uint64_t{number<uint32_t>(about)}};
    case kind::u64: return {number<uint64_t>(about)};
    case kind::i8: return {int64_t{number<int8_t>(about)}};
    case kind::i16: return {int64_t{number<int16_t>(about)}};
    case kind::i32: return {int64_t{number<int32_t>(about)}};
    case kind::i64: return {number<int64_t>(about)};
    case kind::f32: return {double{number<float>(about)}};
    case kind::f64: return {number<double>(about)};
    case kind::boolean: {
      auto byte = number<uint8_t>(about);
      if (byte > 1)
        refuse(fmt::format("{} is the boolean {}; allowed: 0 and 1", about, byte));
      return {byte == 1};
    }
    case kind::string: return {text(left(), about)};
    case kind::array: {
      if (inside_array)
        refuse(fmt::format("{} is an array of arrays; allowed: arrays of plain values", about));
      auto inner = static_cast<kind>(number<uint32_t>(about));
      auto count = number<uint64_t>(about);
      if (count > std::min(array_max, left())) // every element takes a byte at least
        refuse(fmt::format("{} has {} elements; the file has {} bytes left", about, count, left()));
      auto list = gguf_array{};
      list.reserve(count);
      for (auto i = uint64_t{0}; i < count; ++i)
        list.push_back(value(inner, about, true));
      return {std::move(list)};
    }
    }
    refuse(fmt::format("{} has type {}; allowed: 0 to 12", about, static_cast<uint32_t>(type)));
  }

private:
  std::span<const std::byte> take(uint64_t count, std::string_view about) {
    if (count > left())
      refuse(fmt::format("is truncated in {}: {} bytes are left, {} are needed", about, left(), count));
    auto result = bytes_.subspan(at_, count);
    at_ += count;
    return result;
  }

  std::span<const std::byte> bytes_;
  std::string file_;
  uint64_t at_ = 0;
};

struct entry {
  std::string name;
  tensor_view view;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

entry read_entry(cursor& in, uint64_t index) {
  auto result = entry{};
  result.name = in.text(name_bytes_max, fmt::format("tensor number {}", index));
  auto about = fmt::format("tensor \"{}\"", result.name);
  auto dimensions = in.number<uint32_t>(about);
  if (dimensions == 0 || dimensions > dimensions_max)
    in.refuse(fmt::format("{} has {} dimensions; allowed: 1 to {}", about, dimensions, dimensions_max));
  auto count = uint64_t{1};
  for (auto i = uint32_t{0}; i < dimensions; ++i) {
    auto extent = in.number<uint64_t>(about);
    if (__builtin_mul_overflow(count, extent, &count))
      in.refuse(fmt::format("{} has more elements than 64 bits count", about));
    result.view.shape.insert(result.view.shape.begin(), extent); // the file has the columns first
  }
  auto number = in.number<uint32_t>(about);
  auto known = std::ranges::find(elements, number, &element::number);
  if (known == elements.end())
    throw failure(errc::unsupported,
                  fmt::format("{} has element type {}, which this engine does not know", about, number));
  result.view.type = known->type;
  result.view.type_name = known->name;
  if (result.view.shape.back() % known->block != 0)
    in.refuse(fmt::format("{} has rows of {} elements; {} needs a multiple of {}", about, result.view.shape.back(),
                          known->name, known->block));
  if (__builtin_mul_overflow(count / known->block, known->bytes, &result.bytes))
    in.refuse(fmt::format("{} has more bytes than 64 bits count", about));
  result.offset = in.number<uint64_t>(about);
  return result;
}

std::string describe(const gguf_value* found) {
  if (found == nullptr)
    return "missing";
  struct visitor {
    std::string operator()(const std::string& text) const {
      return fmt::format("\"{}\"", text.substr(0, 60));
    }
    std::string operator()(const gguf_array& list) const {
      return fmt::format("an array of {}", list.size());
    }
    std::string operator()(bool flag) const {
      return flag ? "true" : "false";
    }
    std::string operator()(uint64_t number) const {
      return std::to_string(number);
    }
    std::string operator()(int64_t number) const {
      return std::to_string(number);
    }
    std::string operator()(double number) const {
      return fmt::format("{}", number);
    }
  };
  return std::visit(visitor{}, found->value);
}

} // namespace

gguf_file::gguf_file(const std::filesystem::path& path) : path_(path), map_(path) {
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  auto in = cursor{map_.bytes(), path.string()};
  if (in.left() < 4 || std::memcmp(map_.bytes().data(), "GGUF", 4) != 0)
    in.refuse("does not begin with \"GGUF\"");
  in.number<uint32_t>("its magic");
  auto version = in.number<uint32_t>("its version");
  if (version != 2 && version != 3)
    throw failure(errc::unsupported,
                  fmt::format("{}: has GGUF version {}; this engine reads 2 and 3", path.string(), version));
  auto tensors = in.number<uint64_t>("the number of tensors");
  auto pairs = in.number<uint64_t>("the number of metadata");
  if (tensors > entries_max || pairs > entries_max)
    in.refuse(fmt::format("says it has {} tensors and {} metadata; allowed: {} each", tensors, pairs, entries_max));
  for (auto i = uint64_t{0}; i < pairs; ++i) {
    auto key = in.text(name_bytes_max, fmt::format("metadata number {}", i));
    auto about = fmt::format("key \"{}\"", key);
    auto type = static_cast<kind>(in.number<uint32_t>(about));
    if (!metadata_.emplace(key, in.value(type, about, false)).second)
      in.refuse(about + " is there twice");
  }
  auto alignment = find_uint("general.alignment", 8, 1 << 20).value_or(default_alignment);
  if (!std::has_single_bit(alignment))
    refuse("general.alignment", "a power of two");
  auto entries = std::vector<entry>{};
  for (auto i = uint64_t{0}; i < tensors; ++i)
    entries.push_back(read_entry(in, i));
  auto begin = (in.at() + alignment - 1) / alignment * alignment;
  auto data = begin <= map_.bytes().size() ? map_.bytes().subspan(begin) : std::span<const std::byte>{};
  std::ranges::sort(entries, {}, [](const entry& e) { return std::tie(e.offset, e.name); });
  auto used = uint64_t{0};
  for (auto& e : entries) {
    auto about = fmt::format("tensor \"{}\"", e.name);
    if (e.offset % alignment != 0)
      in.refuse(fmt::format("{} begins at {}; allowed: a multiple of {}", about, e.offset, alignment));
    if (e.offset > data.size() || e.bytes > data.size() - e.offset)
      in.refuse(
        fmt::format("{} has {} bytes at {}; the file has {} bytes of data", about, e.bytes, e.offset, data.size()));
    if (e.offset < used)
      in.refuse(fmt::format("{} at {} overlaps the tensor before it, which ends at {}", about, e.offset, used));
    used = e.offset + e.bytes;
    e.view.bytes = data.subspan(e.offset, e.bytes);
    if (!tensors_.emplace(e.name, std::move(e.view)).second)
      in.refuse(about + " is there twice");
  }
}

const gguf_value* gguf_file::find(const std::string& key) const {
  auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

void gguf_file::refuse(const std::string& key, std::string_view allowed) const {
  throw failure(errc::invalid_argument,
                fmt::format("{}: key \"{}\" is {}; allowed: {}", path_.string(), key, describe(find(key)), allowed));
}

std::optional<uint64_t> gguf_file::find_uint(const std::string& key, uint64_t min, uint64_t max) const {
  auto* found = find(key);
  if (found == nullptr)
    return std::nullopt;
  auto number = std::optional<uint64_t>{};
  if (auto* plain = std::get_if<uint64_t>(&found->value))
    number = *plain;
  else if (auto* whole = std::get_if<int64_t>(&found->value); whole != nullptr && *whole >= 0)
    number = static_cast<uint64_t>(*whole);
  if (!number || *number < min || *number > max)
    refuse(key, fmt::format("an integer from {} to {}", min, max));
  return number;
}

uint64_t gguf_file::require_uint(const std::string& key, uint64_t min, uint64_t max) const {
  auto found = find_uint(key, min, max);
  if (!found)
    refuse(key, fmt::format("an integer from {} to {}", min, max));
  return *found;
}

std::optional<double> gguf_file::find_number(const std::string& key, double min, double max) const {
  auto* found = find(key);
  if (found == nullptr)
    return std::nullopt;
  auto* number = std::get_if<double>(&found->value);
  if (number == nullptr || !(*number >= min && *number <= max))
    refuse(key, fmt::format("a number from {} to {}", min, max));
  return *number;
}

std::optional<bool> gguf_file::find_bool(const std::string& key) const {
  auto* found = find(key);
  if (found == nullptr)
    return std::nullopt;
  auto* flag = std::get_if<bool>(&found->value);
  if (flag == nullptr)
    refuse(key, "true or false");
  return *flag;
}

const std::string* gguf_file::find_string(const std::string& key) const {
  auto* found = find(key);
  if (found == nullptr)
    return nullptr;
  auto* text = std::get_if<std::string>(&found->value);
  if (text == nullptr)
    refuse(key, "a text");
  return text;
}

const std::string& gguf_file::require_string(const std::string& key) const {
  auto* found = find_string(key);
  if (found == nullptr)
    refuse(key, "a text");
  return *found;
}

const gguf_array* gguf_file::find_array(const std::string& key) const {
  auto* found = find(key);
  if (found == nullptr)
    return nullptr;
  auto* list = std::get_if<gguf_array>(&found->value);
  if (list == nullptr)
    refuse(key, "an array");
  return list;
}

const gguf_array& gguf_file::require_array(const std::string& key) const {
  auto* found = find_array(key);
  if (found == nullptr)
    refuse(key, "an array");
  return *found;
}

} // namespace perigee::kernels
