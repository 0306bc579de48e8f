// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::kernels {

/// Parses a file that must hold one JSON object of at most `bytes_max`. Throws `failure` (not_found, invalid_argument)
/// naming the file and, for malformed text, the reason.
boost::json::object read_json_object(const std::filesystem::path& path, uint64_t bytes_max);

/// Parses text that must hold one JSON object; `where` names it in errors.
boost::json::object parse_json_object(std::string_view text, const std::string& where);

/// Typed reading of one JSON object. Every error is a `failure` with `invalid_argument` that names where the object
/// stands, the key, the value found and what is allowed. Keeps a reference: the object must outlive the reader.
class json_reader {
public:
  json_reader(const boost::json::object& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const noexcept {
    return where_;
  }
  /// The value, or null where the key is absent or JSON null.
  const boost::json::value* find(std::string_view key) const;

  uint64_t require_uint(std::string_view key, uint64_t min, uint64_t max) const;
  std::optional<uint64_t> find_uint(std::string_view key, uint64_t min, uint64_t max) const;
  std::optional<double> find_number(std::string_view key, double min, double max) const;
  std::optional<bool> find_bool(std::string_view key) const;
  /// Null where absent; points into the object.
  const boost::json::string* find_string(std::string_view key) const;
  const boost::json::string& require_string(std::string_view key) const;
  const boost::json::object* find_object(std::string_view key) const;
  const boost::json::object& require_object(std::string_view key) const;
  const boost::json::array* find_array(std::string_view key) const;
  const boost::json::array& require_array(std::string_view key) const;

  /// Throws: `where: key "key" is <found>; allowed: <allowed>`.
  [[noreturn]] void refuse(std::string_view key, std::string_view allowed) const;

private:
  const boost::json::value& require(std::string_view key, std::string_view allowed) const;

  const boost::json::object& object_;
  std::string where_;
};

/// The value as text for an error message, shortened.
std::string brief(const boost::json::value& value);

} // namespace perigee::kernels
