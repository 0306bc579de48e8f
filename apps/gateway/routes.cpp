// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/routes.hpp"

#include <array>
#include <charconv>

namespace perigee::gateway {

namespace {

struct entry {
  route where;
  std::string_view path; ///< ends in `/{id}` where the rest of the path is an argument
  std::string_view allow;
};

constexpr auto reading = std::string_view{"GET, HEAD, OPTIONS"};
constexpr auto posting = std::string_view{"POST, OPTIONS"};
constexpr auto variable_part = std::string_view{"{id}"};

constexpr auto table = std::array{
  entry{route::models, "/v1/models", reading},
  entry{route::model, "/v1/models/{id}", reading},
  entry{route::completion, "/v1/completions", posting},
  entry{route::chat, "/v1/chat/completions", posting},
  entry{route::health, "/health", reading},
  entry{route::live, "/live", reading},
  entry{route::metrics, "/metrics", reading},
  entry{route::cluster, "/cluster", reading},
  entry{route::request, "/cluster/requests/{id}", reading},
  entry{route::dashboard, "/", reading},
};

std::optional<std::string> percent_decoded(std::string_view text) {
  auto result = std::string{};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    auto value = uint8_t{0};
    auto digits = text.substr(i + 1, 2);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || error != std::errc{} || end != digits.data() + 2)
      return std::nullopt;
    result += static_cast<char>(value);
    i += 2;
  }
  return result;
}

} // namespace

std::optional<route_match> match_route(std::string_view target) {
  auto path = target.substr(0, target.find('?'));
  for (const auto& [where, pattern, allow] : table) {
    if (path == pattern)
      return route_match{where, pattern, allow, {}};
    if (!pattern.ends_with(variable_part))
      continue;
    auto fixed = pattern.substr(0, pattern.size() - variable_part.size());
    if (!path.starts_with(fixed) || path.size() == fixed.size())
      continue;
    if (auto argument = percent_decoded(path.substr(fixed.size())))
      return route_match{where, pattern, allow, std::move(*argument)};
  }
  return std::nullopt;
}

} // namespace perigee::gateway
