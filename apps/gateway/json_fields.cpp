// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/json_fields.hpp"

#include "kernels/model/utf8.hpp"

#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace perigee::gateway {

namespace {

namespace json = boost::json;

std::string range_text(double low, double high, bool low_open) {
  if (low_open)
    return fmt::format("above {} and at most {}", low, high);
  return fmt::format("between {} and {}", low, high);
}

} // namespace

std::optional<size_t> invalid_utf8_at(std::string_view text) noexcept {
  using kernels::utf8::sequence;
  for (auto at = size_t{0}; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) { // nearly all of most bodies
      ++at;
      continue;
    }
    auto next = kernels::utf8::front(text.substr(at));
    if (next.kind != sequence::form::character)
      return at;
    at += next.bytes;
  }
  return std::nullopt;
}

std::variant<json::object, api_error> parse_json_object(std::string_view text) {
  if (auto at = invalid_utf8_at(text))
    return invalid_request("invalid_utf8", fmt::format("The body is not valid UTF-8 (byte {}).", *at));
  auto options = json::parse_options{};
  options.max_depth = json_depth_max;
  // Growing lists would be taken from and given back to the system: with those of a prompt of thousands of tokens that
  // takes longer than to read it.
  std::array<unsigned char, size_t{128} << 10> unfinished; // written before it is read
  auto parser = json::parser{json::make_shared_resource<json::monotonic_resource>(text.size()), options,
                             unfinished.data(), unfinished.size()};
  auto error = boost::system::error_code{};
  auto used = parser.write_some(text.data(), text.size(), error);
  if (error == json::error::too_deep)
    return invalid_request("json_too_deep", fmt::format("The body nests deeper than the {} levels allowed (byte {}).",
                                                        json_depth_max, used));
  if (!error && text.find_first_not_of(" \t\r\n", used) != std::string_view::npos)
    error = json::make_error_code(json::error::extra_data);
  if (error)
    return invalid_request("invalid_json", fmt::format("The body is not valid JSON: {} (byte {} of {}).",
                                                       error.message(), used, text.size()));
  auto value = parser.release();
  if (!value.is_object())
    return invalid_request("invalid_json", fmt::format("The body is {}; it must be a JSON object.", kind_name(value)));
  return std::move(value.get_object());
}

std::string_view kind_name(const json::value& value) noexcept {
  switch (value.kind()) {
  case json::kind::null: return "null";
  case json::kind::bool_: return "a boolean";
  case json::kind::int64:
  case json::kind::uint64:
  case json::kind::double_: return "a number";
  case json::kind::string: return "a string";
  case json::kind::array: return "an array";
  case json::kind::object: return "an object";
  }
  return "unknown";
}

std::string field_reader::path_of(std::string_view name) const {
  return path_.empty() ? std::string{name} : fmt::format("{}.{}", path_, name);
}

void field_reader::fail(api_error error) {
  if (!error_)
    error_ = std::move(error);
}

void field_reader::wrong_type(std::string_view name, const json::value& found, std::string_view expected) {
  auto path = path_of(name);
  fail(invalid_field(path, fmt::format("{} is {}; it must be {}.", path, kind_name(found), expected)));
}

const json::value* field_reader::any(std::string_view name) {
  known_.push_back(name);
  auto* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<bool> field_reader::boolean(std::string_view name) {
  auto* value = any(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_bool())
    return value->get_bool();
  wrong_type(name, *value, "true or false");
  return std::nullopt;
}

std::optional<std::string> field_reader::text(std::string_view name) {
  auto* value = any(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_string())
    return std::string{value->get_string()};
  wrong_type(name, *value, "a string");
  return std::nullopt;
}

std::optional<int64_t> field_reader::integer(std::string_view name, int64_t low, int64_t high) {
  auto* value = any(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_int64() && value->get_int64() >= low && value->get_int64() <= high)
    return value->get_int64();
  auto path = path_of(name);
  if (value->is_int64() || value->is_uint64())
    fail(invalid_field(
      path, fmt::format("{} is {}; it must be between {} and {}.", path, json::serialize(*value), low, high)));
  else if (value->is_double())
    fail(invalid_field(path, fmt::format("{} is {}; it must be an integer.", path, value->get_double())));
  else
    wrong_type(name, *value, "an integer");
  return std::nullopt;
}

std::optional<double> field_reader::number(std::string_view name, double low, double high, bool low_open) {
  auto* value = any(name);
  if (value == nullptr)
    return std::nullopt;
  if (!value->is_number()) {
    wrong_type(name, *value, "a number");
    return std::nullopt;
  }
  auto found = value->to_number<double>();
  if (std::isfinite(found) && found <= high && (low_open ? found > low : found >= low))
    return found;
  auto path = path_of(name);
  fail(invalid_field(path, fmt::format("{} is {}; it must be {}.", path, found, range_text(low, high, low_open))));
  return std::nullopt;
}

std::optional<uint64_t> field_reader::bits(std::string_view name) {
  auto* value = any(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_int64())
    return static_cast<uint64_t>(value->get_int64());
  if (value->is_uint64())
    return value->get_uint64();
  wrong_type(name, *value, "an integer of 64 bits");
  return std::nullopt;
}

void field_reader::unsupported(std::string_view name, const std::function<bool(const json::value&)>& changes_nothing) {
  auto* value = any(name);
  if (value == nullptr || (changes_nothing && changes_nothing(*value)))
    return;
  auto path = path_of(name);
  fail(unsupported_field(path, fmt::format("{} is not supported by this server; leave it out.", path)));
}

std::optional<api_error> field_reader::finish() {
  if (error_)
    return error_;
  for (const auto& [key, value] : object_) {
    auto name = std::string_view{key.data(), key.size()};
    if (std::find(known_.begin(), known_.end(), name) != known_.end())
      continue;
    auto path = path_of(clipped(name));
    auto error = unsupported_field(path, fmt::format("\"{}\" is not a field this server knows; leave it out.", path));
    error.code = "unknown_parameter";
    return error;
  }
  return std::nullopt;
}

} // namespace perigee::gateway
