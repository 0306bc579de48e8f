// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/trace_line.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

namespace perigee::sim {

namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 4> field_names = {"timestamp", "input_length", "output_length", "hash_ids"};
enum field : uint8_t { timestamp, input_length, output_length, hash_ids, other };

/// A number as the text of the line has it, never as a double: millionths are exact.
struct plain_decimal {
  uint64_t whole = 0;
  uint32_t millionths = 0;
};

/// Nothing for a sign, an exponent, more than 64 bits, or more than six decimals that are not zero.
std::optional<plain_decimal> parse_decimal(std::string_view text) {
  auto result = plain_decimal{};
  const auto* end = text.data() + text.size();
  auto [rest, code] = std::from_chars(text.data(), end, result.whole);
  if (code != std::errc{} || (rest != end && *rest != '.'))
    return std::nullopt;
  if (rest == end)
    return result;
  auto weight = uint32_t{100'000};
  for (++rest; rest != end; ++rest, weight /= 10) {
    auto is_digit = *rest >= '0' && *rest <= '9';
    if (!is_digit || (weight == 0 && *rest != '0'))
      return std::nullopt;
    result.millionths += weight * static_cast<uint32_t>(*rest - '0');
  }
  return result;
}

/// Takes the events of the JSON parser. A fault ends the parse; its text stays in `fault`.
class line_handler {
public:
  static constexpr size_t max_object_size = size_t(-1);
  static constexpr size_t max_array_size = size_t(-1);
  static constexpr size_t max_key_size = size_t(-1);
  static constexpr size_t max_string_size = size_t(-1);

  explicit line_handler(trace_request& request) : request_(request) {
    request.blocks.clear();
  }

  std::string fault;

  bool on_document_begin(json::error_code&) {
    return true;
  }

  bool on_document_end(json::error_code& code) {
    for (size_t i = 0; i < field_names.size(); ++i)
      if (!seen_[i])
        return stop(code,
                    fmt::format("{} is missing; a request has timestamp, input_length, output_length and hash_ids",
                                field_names[i]));
    return true;
  }

  bool on_object_begin(json::error_code& code) {
    if (depth_ > 0 && !may_hold("an object", code))
      return false;
    ++depth_;
    return true;
  }

  bool on_object_end(size_t, json::error_code&) {
    --depth_;
    return true;
  }

  bool on_array_begin(json::error_code& code) {
    auto is_list = depth_ == 1 && field_ == hash_ids;
    if (!is_list && !may_hold("an array", code))
      return false;
    ++depth_;
    return true;
  }

  bool on_array_end(size_t, json::error_code&) {
    --depth_;
    return true;
  }

  bool on_key_part(std::string_view part, size_t, json::error_code&) {
    text_ += part;
    return true;
  }

  bool on_key(std::string_view part, size_t, json::error_code& code) {
    text_ += part;
    if (depth_ == 1)
      field_ = field_of(text_);
    text_.clear();
    if (depth_ != 1 || field_ == other)
      return true;
    if (seen_[field_])
      return stop(code, fmt::format("{} stands there twice; a request has one", field_names[field_]));
    seen_[field_] = true;
    return true;
  }

  bool on_string_part(std::string_view, size_t, json::error_code&) {
    return true;
  }

  bool on_string(std::string_view, size_t, json::error_code& code) {
    return may_hold("a string", code);
  }

  bool on_number_part(std::string_view part, json::error_code&) {
    text_ += part;
    return true;
  }

  bool on_int64(int64_t, std::string_view part, json::error_code& code) {
    return on_number(part, code);
  }

  bool on_uint64(uint64_t, std::string_view part, json::error_code& code) {
    return on_number(part, code);
  }

  bool on_double(double, std::string_view part, json::error_code& code) {
    return on_number(part, code);
  }

  bool on_bool(bool value, json::error_code& code) {
    return may_hold(value ? "true" : "false", code);
  }

  bool on_null(json::error_code& code) {
    return may_hold("null", code);
  }

  bool on_comment_part(std::string_view, json::error_code&) {
    return true;
  }

  bool on_comment(std::string_view, json::error_code&) {
    return true;
  }

private:
  static field field_of(std::string_view name) {
    for (uint8_t i = 0; i < field_names.size(); ++i)
      if (name == field_names[i])
        return static_cast<field>(i);
    return other;
  }

  bool stop(json::error_code& code, std::string why) {
    fault = std::move(why);
    code = json::error::syntax;
    return false;
  }

  /// For a value that is not what one of the four fields holds: fine where it belongs to a field that nobody reads.
  bool may_hold(std::string_view what, json::error_code& code) {
    if (depth_ == 0)
      return stop(code, fmt::format("found {}, allowed is one object a line, "
                                    "such as {{\"timestamp\": 0, \"input_length\": 700, \"output_length\": 20, "
                                    "\"hash_ids\": [1, 2]}}",
                                    what));
    if (field_ == other)
      return true;
    auto allowed = field_ != hash_ids ? "a number" : depth_ == 1 ? "an array of whole numbers" : "a whole number";
    return stop(code, fmt::format("{}: found {}, allowed is {}", field_names[field_], what, allowed));
  }

  bool on_number(std::string_view part, json::error_code& code) {
    text_ += part;
    auto fine = take_number(code);
    text_.clear();
    return fine;
  }

  bool take_number(json::error_code& code) {
    if (depth_ == 0 || (depth_ == 1 && field_ == hash_ids))
      return may_hold(text_, code);
    switch (field_) {
    case timestamp: return take_timestamp(code);
    case input_length: return take_length(request_.input_tokens, code);
    case output_length: return take_length(request_.output_tokens, code);
    case hash_ids: return take_id(code);
    case other: return true;
    }
    return true;
  }

  bool take_timestamp(json::error_code& code) {
    auto value = parse_decimal(text_);
    if (!value || value->whole > trace_timestamp_ms_max)
      return stop(code,
                  fmt::format("timestamp: found {}, allowed are 0 to {} milliseconds from the trace's start, in plain "
                              "digits with at most 6 decimals",
                              text_, trace_timestamp_ms_max));
    request_.arrival_ns = value->whole * 1'000'000 + value->millionths;
    return true;
  }

  bool take_length(uint32_t& tokens, json::error_code& code) {
    auto value = parse_decimal(text_);
    if (!value || value->millionths != 0 || value->whole == 0 || value->whole > trace_tokens_max)
      return stop(code, fmt::format("{}: found {}, allowed is a whole number of tokens from 1 to {}",
                                    field_names[field_], text_, trace_tokens_max));
    tokens = static_cast<uint32_t>(value->whole);
    return true;
  }

  bool take_id(json::error_code& code) {
    auto value = parse_decimal(text_);
    if (!value || value->millionths != 0)
      return stop(code, fmt::format("hash_ids: found {}, allowed is a whole number from 0 to {}", text_, UINT64_MAX));
    request_.blocks.push_back(value->whole);
    return true;
  }

  trace_request& request_;
  std::array<bool, 4> seen_ = {};
  std::string text_;
  int depth_ = 0;
  field field_ = other;
};

} // namespace

std::string parse_trace_line(std::string_view line, trace_request& request) {
  auto parser = json::basic_parser<line_handler>{json::parse_options{}, request};
  auto code = json::error_code{};
  auto used = parser.write_some(false, line.data(), line.size(), code);
  if (!parser.handler().fault.empty())
    return std::move(parser.handler().fault);
  if (code)
    return fmt::format("not JSON at column {} ({}); one request is one JSON object on one line", used + 1,
                       code.message());
  if (line.find_first_not_of(" \t\r", used) != std::string_view::npos)
    return fmt::format("column {}: found something after the object; one request is one line", used + 1);
  return {};
}

} // namespace perigee::sim
