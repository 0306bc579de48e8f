// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/request_reader.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

namespace perigee::gateway {

namespace {

namespace http = boost::beast::http;

api_error with_status(uint16_t status, std::string_view code, std::string_view message) {
  auto error = invalid_request(code, message);
  error.http_status = status;
  return error;
}

} // namespace

struct request_reader::parser : http::request_parser<http::string_body> {};

request_reader::request_reader(size_t header_bytes_max, size_t body_bytes_max, byte_budget& bodies)
  : header_bytes_max_(header_bytes_max), body_bytes_max_(body_bytes_max), parser_(std::make_unique<parser>()),
    lease_(bodies) {
  parser_->header_limit(static_cast<uint32_t>(header_bytes_max));
  parser_->body_limit(body_bytes_max);
}

request_reader::~request_reader() = default;

void request_reader::fail(api_error error) {
  phase_ = phase::failed;
  error_ = std::move(error);
}

size_t request_reader::feed(std::string_view bytes) {
  auto used_total = size_t{0};
  while (phase_ == phase::header || phase_ == phase::body) {
    auto rest = bytes.substr(used_total);
    auto error = boost::beast::error_code{};
    auto used = rest.empty() ? size_t{0} : parser_->put(boost::asio::buffer(rest.data(), rest.size()), error);
    used_total += used;
    if (error == http::error::header_limit
        || (error == http::error::need_more && rest.size() - used > header_bytes_max_)) {
      fail(with_status(431, "header_too_large",
                       fmt::format("The request header is larger than {} bytes.", header_bytes_max_)));
    } else if (error == http::error::body_limit) {
      fail(with_status(413, "body_too_large", fmt::format("The body is larger than {} bytes.", body_bytes_max_)));
    } else if (error && error != http::error::need_more) {
      fail(invalid_request("bad_request", fmt::format("This is not a valid HTTP/1.1 request: {}.", error.message())));
    } else if (phase_ == phase::header && parser_->is_header_done()) {
      phase_ = phase::body;
      check_header();
      if (phase_ == phase::body && !parser_->is_done())
        return used_total; // the caller may have to answer "100 Continue" first
    }
    if (phase_ == phase::body && !lease_.grow_to(parser_->get().body().size()))
      fail(overloaded("The gateway holds as many unfinished request bodies as it can; try again.", 1));
    if (phase_ == phase::body && parser_->is_done())
      phase_ = phase::complete;
    if (used == 0)
      break;
  }
  return used_total;
}

void request_reader::check_header() {
  const auto& message = parser_->get();
  if (message.version() != 10 && message.version() != 11)
    return fail(invalid_request("bad_request", "Only HTTP/1.1 and HTTP/1.0 are spoken here."));
  if (message.version() == 11 && message.count(http::field::host) != 1)
    return fail(invalid_request("bad_request", "The request needs one Host header."));
  auto expect = message[http::field::expect];
  if (expect.empty())
    return;
  if (!same_word({expect.data(), expect.size()}, "100-continue"))
    return fail(with_status(417, "expectation_failed",
                            fmt::format("The expectation {} cannot be met.", shown({expect.data(), expect.size()}))));
  expects_continue_ = message.version() == 11;
}

http_request request_reader::take() {
  auto message = parser_->release();
  auto result = http_request{};
  result.method = message.method_string();
  result.target = message.target();
  result.http_1_0 = message.version() == 10;
  result.keep_alive = message.keep_alive();
  for (const auto& field : message)
    result.headers.emplace_back(field.name_string(), field.value());
  result.body = std::move(message.body());
  result.body_lease = std::move(lease_);
  return result;
}

} // namespace perigee::gateway
