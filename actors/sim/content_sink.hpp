// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "transport/base/block_key.hpp"
#include "transport/base/shared_list.hpp"

#include <caf/save_inspector_base.hpp>
#include <caf/span.hpp>
#include <caf/string_view.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

namespace perigee::sim {

/// Bytes in a row, to be hashed.
class byte_row {
public:
  template <class Number>
  void put(Number number) {
    static_assert(std::is_arithmetic_v<Number>);
    if (room_ - size_ < sizeof(number))
      grow(sizeof(number));
    std::memcpy(bytes_.get() + size_, &number, sizeof(number));
    size_ += sizeof(number);
  }
  void put(const void* bytes, size_t count) {
    if (count == 0)
      return; // An empty list has no address.
    if (room_ - size_ < count)
      grow(count);
    std::memcpy(bytes_.get() + size_, bytes, count);
    size_ += count;
  }

  size_t size() const noexcept {
    return size_;
  }
  std::byte* data() noexcept {
    return bytes_.get();
  }
  const std::byte* data() const noexcept {
    return bytes_.get();
  }
  void clear() noexcept {
    size_ = 0;
  }

private:
  void grow(size_t more);

  std::unique_ptr<std::byte[]> bytes_;
  size_t size_ = 0;
  size_t room_ = 0;
};

/// Long lists of tokens go through many messages: of each whole run of 512 tokens its hash stands for it, and what is
/// one memory is hashed once.
class run_hashes {
public:
  static constexpr size_t run_tokens = 512;
  using hash = std::array<std::byte, 16>; ///< the first half of SHA-256

  const hash& of(const shared_list<token_id>& run);

private:
  struct entry {
    shared_list<token_id> run; // so that its address means nothing else
    hash value;
  };
  static constexpr size_t kept_max = 4096;

  std::unordered_map<const token_id*, entry> known_; // of whole runs; looked up only
};

/// What a message holds, as bytes: numbers as they stand in memory (lowest byte first), lists with their length before
/// them.
class content_sink final : public caf::save_inspector_base<content_sink> {
public:
  content_sink(byte_row& to, run_hashes& runs) : to_(to), runs_(runs) {}

  static constexpr bool has_human_readable_format() noexcept {
    return false;
  }
  bool begin_object(caf::type_id_t, caf::string_view) {
    return true;
  }
  bool end_object() {
    return true;
  }
  bool begin_field(caf::string_view) {
    return true;
  }
  bool begin_field(caf::string_view, bool is_present) {
    return value(is_present);
  }
  bool begin_field(caf::string_view, caf::span<const caf::type_id_t>, size_t index) {
    return value(index);
  }
  bool begin_field(caf::string_view, bool is_present, caf::span<const caf::type_id_t>, size_t index) {
    return value(is_present) && value(index);
  }
  bool end_field() {
    return true;
  }
  bool begin_tuple(size_t) {
    return true;
  }
  bool end_tuple() {
    return true;
  }
  bool begin_sequence(size_t size) {
    return value(static_cast<uint32_t>(size));
  }
  bool end_sequence() {
    return true;
  }

  template <class Number>
  std::enable_if_t<std::is_arithmetic_v<Number>, bool> value(Number number) {
    to_.put(number);
    return true;
  }
  bool value(caf::string_view text) {
    to_.put(static_cast<uint32_t>(text.size()));
    to_.put(text.data(), text.size());
    return true;
  }

  template <class Number>
  bool numbers(std::span<const Number> all) {
    to_.put(static_cast<uint32_t>(all.size()));
    to_.put(all.data(), all.size_bytes());
    return true;
  }
  bool numbers(const shared_list<uint32_t>& all) {
    return numbers(std::span<const uint32_t>{all});
  }
  bool numbers(const shared_list<token_id>& all);

private:
  byte_row& to_;
  run_hashes& runs_;
};

} // namespace perigee::sim
