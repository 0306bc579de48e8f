// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

namespace perigee {

/// An enum travels as its number; one above `last` is refused while reading.
template <class Inspector, class Enum>
bool inspect_enum(Inspector& f, Enum& x, Enum last) {
  using number = std::underlying_type_t<Enum>;
  auto get = [&x] { return static_cast<number>(x); };
  auto set = [&x, last](number value) {
    if (value > static_cast<number>(last))
      return false;
    x = static_cast<Enum>(value);
    return true;
  };
  return f.apply(get, set);
}

} // namespace perigee
