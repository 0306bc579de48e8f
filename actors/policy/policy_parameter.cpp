// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/policy_parameter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace perigee {

std::vector<std::pair<std::string, std::string>> check_parameters(const std::vector<parameter_info>& known,
                                                                  const parameter_values& values) {
  auto wrong = std::vector<std::pair<std::string, std::string>>{};
  for (const auto& [name, value] : values) {
    auto at = std::ranges::find(known, name, &parameter_info::name);
    if (at == known.end()) {
      auto names = std::string{};
      for (const auto& item : known)
        names += (names.empty() ? "it has: " : ", ") + item.name;
      wrong.emplace_back(name, "the policy has no such parameter; " + (names.empty() ? "it has none" : names));
    } else if (!(value >= at->min && value <= at->max)) {
      wrong.emplace_back(name, fmt::format("found {}, allowed are {} to {}", value, at->min, at->max));
    }
  }
  return wrong;
}

std::optional<parameter_values> parse_parameters(std::string_view text) {
  auto values = parameter_values{};
  while (!text.empty()) {
    auto item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    auto sign = item.find('=');
    if (sign == 0 || sign == std::string_view::npos)
      return std::nullopt;
    auto number = item.substr(sign + 1);
    auto value = 0.0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || end != number.data() + number.size())
      return std::nullopt;
    values[std::string{item.substr(0, sign)}] = value;
  }
  return values;
}

} // namespace perigee
