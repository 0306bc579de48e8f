// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/json_reader.hpp"

#include "kernels/model/mapped_file.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <cmath>

namespace perigee::kernels {

namespace json = boost::json;

json::object parse_json_object(std::string_view text, const std::string& where) {
  auto error = json::error_code{};
  auto value = json::parse({text.data(), text.size()}, error);
  if (error)
    throw failure(errc::invalid_argument, fmt::format("{}: is not valid JSON: {}", where, error.message()));
  if (!value.is_object())
    throw failure(errc::invalid_argument, fmt::format("{}: must be a JSON object, found {}", where, brief(value)));
  return std::move(value.get_object());
}

json::object read_json_object(const std::filesystem::path& path, uint64_t bytes_max) {
  auto file = mapped_file{path};
  auto bytes = file.bytes();
  if (bytes.size() > bytes_max)
    throw failure(errc::invalid_argument,
                  fmt::format("{}: has {} bytes; at most {} are allowed", path.string(), bytes.size(), bytes_max));
  return parse_json_object({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

std::string brief(const json::value& value) {
  if (value.is_object())
    return fmt::format("an object with {} keys", value.get_object().size());
  if (value.is_array())
    return fmt::format("an array of {}", value.get_array().size());
  auto text = json::serialize(value);
  if (text.size() > 80)
    return text.substr(0, 77) + "...";
  return text;
}

const json::value* json_reader::find(std::string_view key) const {
  auto* value = object_.if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

void json_reader::refuse(std::string_view key, std::string_view allowed) const {
  auto* value = find(key);
  throw failure(errc::invalid_argument, fmt::format("{}: key \"{}\" is {}; allowed: {}", where_, key,
                                                    value == nullptr ? "missing" : brief(*value), allowed));
}

const json::value& json_reader::require(std::string_view key, std::string_view allowed) const {
  auto* value = find(key);
  if (value == nullptr)
    refuse(key, allowed);
  return *value;
}

std::optional<uint64_t> json_reader::find_uint(std::string_view key, uint64_t min, uint64_t max) const {
  auto* value = find(key);
  if (value == nullptr)
    return std::nullopt;
  auto error = json::error_code{};
  auto number = value->to_number<uint64_t>(error);
  if (error || number < min || number > max)
    refuse(key, fmt::format("an integer from {} to {}", min, max));
  return number;
}

uint64_t json_reader::require_uint(std::string_view key, uint64_t min, uint64_t max) const {
  require(key, fmt::format("an integer from {} to {}", min, max));
  return *find_uint(key, min, max);
}

std::optional<double> json_reader::find_number(std::string_view key, double min, double max) const {
  auto* value = find(key);
  if (value == nullptr)
    return std::nullopt;
  auto error = json::error_code{};
  auto number = value->to_number<double>(error);
  if (error || !std::isfinite(number) || number < min || number > max)
    refuse(key, fmt::format("a number from {} to {}", min, max));
  return number;
}

std::optional<bool> json_reader::find_bool(std::string_view key) const {
  auto* value = find(key);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_bool())
    refuse(key, "true or false");
  return value->get_bool();
}

const json::string* json_reader::find_string(std::string_view key) const {
  auto* value = find(key);
  if (value != nullptr && !value->is_string())
    refuse(key, "a string");
  return value == nullptr ? nullptr : &value->get_string();
}

const json::string& json_reader::require_string(std::string_view key) const {
  require(key, "a string");
  return *find_string(key);
}

const json::object* json_reader::find_object(std::string_view key) const {
  auto* value = find(key);
  if (value != nullptr && !value->is_object())
    refuse(key, "an object");
  return value == nullptr ? nullptr : &value->get_object();
}

const json::object& json_reader::require_object(std::string_view key) const {
  require(key, "an object");
  return *find_object(key);
}

const json::array* json_reader::find_array(std::string_view key) const {
  auto* value = find(key);
  if (value != nullptr && !value->is_array())
    refuse(key, "an array");
  return value == nullptr ? nullptr : &value->get_array();
}

const json::array& json_reader::require_array(std::string_view key) const {
  require(key, "an array");
  return *find_array(key);
}

} // namespace perigee::kernels
