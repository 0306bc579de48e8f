// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perigee {

/// One number that a policy lets people set. Its default is what a default-made `Policy` holds.
template <class Policy>
struct policy_parameter {
  std::string_view name;
  double Policy::*field;
  double min = 0;
  double max = 0;
  std::string_view doc;
};

/// The same without the policy's type.
struct parameter_info {
  std::string name;
  double fallback = 0;
  double min = 0;
  double max = 0;
  std::string doc;
};

using parameter_values = std::map<std::string, double>;

/// What is wrong with `values`, one (name, message) each: unknown names and values out of range.
std::vector<std::pair<std::string, std::string>> check_parameters(const std::vector<parameter_info>& known,
                                                                  const parameter_values& values);

/// Values of "threshold=3,urgent-s=2.5"; nothing where the text is no such list.
std::optional<parameter_values> parse_parameters(std::string_view text);

template <class Policy>
constexpr auto parameters_of() {
  if constexpr (requires { Policy::parameters; })
    return std::span<const policy_parameter<Policy>>{Policy::parameters};
  else
    return std::span<const policy_parameter<Policy>>{};
}

template <class Policy>
std::vector<parameter_info> describe_parameters() {
  auto out = std::vector<parameter_info>{};
  auto fallback = Policy{};
  for (const auto& item : parameters_of<Policy>())
    out.push_back({std::string{item.name}, fallback.*item.field, item.min, item.max, std::string{item.doc}});
  return out;
}

/// Sets what `values` name; they were checked.
template <class Policy>
void set_parameters(Policy& policy, const parameter_values& values) {
  for (const auto& item : parameters_of<Policy>())
    if (auto at = values.find(std::string{item.name}); at != values.end())
      policy.*item.field = at->second;
}

} // namespace perigee
