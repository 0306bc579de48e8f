// SPDX-License-Identifier: Apache-2.0
#pragma once

// Long lists of numbers: the same bytes as one by one, in a fraction of the time.

#include "transport/base/shared_list.hpp"

#include <caf/fwd.hpp>
#include <caf/inspector_access.hpp>
#include <caf/span.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace perigee {

/// Numbers travel with their highest byte first.
template <class Number>
constexpr Number to_wire(Number value) noexcept {
  static_assert(sizeof(Number) == 4 && std::endian::native == std::endian::little);
  return static_cast<Number>(__builtin_bswap32(static_cast<uint32_t>(value)));
}

/// Appends them to what a binary serializer writes, some at a time.
template <class Serializer, class Number>
bool write_numbers(Serializer& sink, std::span<const Number> numbers) {
  if (!sink.begin_sequence(numbers.size()))
    return false;
  for (std::array<Number, 256> some; !numbers.empty();) {
    auto count = std::min(numbers.size(), some.size());
    std::transform(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(count), some.begin(),
                   to_wire<Number>);
    if (!sink.value(caf::span{reinterpret_cast<const caf::byte*>(some.data()), count * sizeof(Number)}))
      return false;
    numbers = numbers.subspan(count);
  }
  return sink.end_sequence();
}

template <class Deserializer, class Number>
bool read_numbers(Deserializer& source, std::vector<Number>& numbers) {
  auto size = size_t{0};
  if (!source.begin_sequence(size))
    return false;
  numbers.clear();
  for (std::array<Number, 256> some; size > 0;) { // What cannot be there is not allocated.
    auto count = std::min(size, some.size());
    if (!source.value(caf::span{reinterpret_cast<caf::byte*>(some.data()), count * sizeof(Number)}))
      return false;
    std::transform(some.begin(), some.begin() + count, std::back_inserter(numbers), to_wire<Number>);
    size -= count;
  }
  return source.end_sequence();
}

/// Other inspectors get them one by one, or as a whole if they have `numbers`.
template <class Inspector, class Number>
bool inspect_numbers(Inspector& f, std::vector<Number>& numbers) {
  if constexpr (requires { f.numbers(std::span<const Number>{numbers}); })
    return f.numbers(std::span<const Number>{numbers});
  else if constexpr (std::is_same_v<Inspector, caf::binary_serializer>)
    return write_numbers<Inspector, Number>(f, numbers);
  else if constexpr (std::is_same_v<Inspector, caf::binary_deserializer>)
    return read_numbers(f, numbers);
  else
    return f.list(numbers);
}

template <class Inspector, class T>
bool inspect(Inspector& f, shared_list<T>& x) {
  if constexpr (Inspector::is_loading) {
    auto items = std::vector<T>{};
    if (!f.apply(items))
      return false;
    x = std::move(items);
    return true;
  } else if constexpr (requires { f.numbers(x); }) {
    return f.numbers(x);
  } else if constexpr (std::is_same_v<Inspector, caf::binary_serializer> && std::is_integral_v<T>) {
    return write_numbers<Inspector, T>(f, x);
  } else {
    return f.list(x);
  }
}

} // namespace perigee

template <>
struct caf::inspector_access<std::vector<uint32_t>> : caf::inspector_access_base<std::vector<uint32_t>> {
  template <class Inspector>
  static bool apply(Inspector& f, std::vector<uint32_t>& x) {
    return perigee::inspect_numbers(f, x);
  }
};

template <>
struct caf::inspector_access<std::vector<int32_t>> : caf::inspector_access_base<std::vector<int32_t>> {
  template <class Inspector>
  static bool apply(Inspector& f, std::vector<int32_t>& x) {
    return perigee::inspect_numbers(f, x);
  }
};
