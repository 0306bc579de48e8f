// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/api_error.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::gateway {

/// How deep arrays and objects of a body may stand in each other.
constexpr uint32_t json_depth_max = 32;

/// Position of the first character of `text` that is not valid UTF-8; nothing if all are.
std::optional<size_t> invalid_utf8_at(std::string_view text) noexcept;

/// Parses a request body, which must be one JSON object in UTF-8, at most `json_depth_max` deep. Errors say at which
/// byte.
std::variant<boost::json::object, api_error> parse_json_object(std::string_view text);

/// Reads the fields of one object and leaves none out: a field that nobody asked for is an error. Keeps the first
/// problem; after one, further reads still answer but mean nothing. JSON null counts as absent.
class field_reader {
public:
  /// `path` is the object's place in the body for messages ("" for the body itself). `object` must outlive the reader.
  field_reader(const boost::json::object& object, std::string path) : object_(object), path_(std::move(path)) {}

  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> text(std::string_view name);
  /// Within [low, high].
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high);
  /// Within [low, high], or (low, high] with `low_open`; finite.
  std::optional<double> number(std::string_view name, double low, double high, bool low_open = false);
  /// Any 64 bits: negative numbers as their two's complement.
  std::optional<uint64_t> bits(std::string_view name);
  /// Whatever stands there; null pointer if absent.
  const boost::json::value* any(std::string_view name);

  /// A field that clients know and this server does not have: only values that change nothing may stand there.
  void unsupported(std::string_view name, const std::function<bool(const boost::json::value&)>& changes_nothing = {});

  /// Records a problem that the caller found.
  void fail(api_error error);
  bool failed() const noexcept {
    return error_.has_value();
  }

  /// The first problem, or the first field that nobody asked for.
  std::optional<api_error> finish();

  /// The field's full name for messages.
  std::string path_of(std::string_view name) const;

private:
  void wrong_type(std::string_view name, const boost::json::value& found, std::string_view expected);

  const boost::json::object& object_;
  std::string path_;
  std::vector<std::string_view> known_;
  std::optional<api_error> error_;
};

/// "a string", "an array", ... for messages.
std::string_view kind_name(const boost::json::value& value) noexcept;

} // namespace perigee::gateway
