// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/request_reader.hpp"

#include "apps/gateway/routes.hpp"
#include "tests/support/testing.hpp"

#include <random>

namespace perigee::gateway {

namespace {

using phase = request_reader::phase;

/// Feeds all of `text` at once, past the stop after the header.
struct one_reader {
  explicit one_reader(std::string_view text, size_t header_max = 1024, size_t body_max = 64, size_t budget_max = 1024)
    : budget(budget_max), reader(header_max, body_max, budget) {
    while (used < text.size()) {
      auto now = reader.feed(text.substr(used));
      used += now;
      if (now == 0)
        break;
    }
  }
  byte_budget budget;
  request_reader reader;
  size_t used = 0;
};

uint16_t status_of(std::string_view text) {
  auto one = one_reader{text};
  CAPTURE(text);
  REQUIRE(one.reader.where() == phase::failed);
  return one.reader.error().http_status;
}

} // namespace

TEST_CASE("request_reader: a request is read up to its end and no further") {
  auto text = std::string{"POST /x?y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabcGET /"};
  auto one = one_reader{text};
  REQUIRE(one.reader.where() == phase::complete);
  CHECK(text.substr(one.used) == "GET /");
  CHECK(one.budget.used() == 3);
  {
    auto request = one.reader.take();
    CHECK(request.method == "POST");
    CHECK(request.target == "/x?y");
    CHECK(request.header("x-a") == "1");
    CHECK(request.body == "abc");
    CHECK(request.keep_alive);
  }
  CHECK(one.budget.used() == 0);
}

TEST_CASE("request_reader: it does not matter where the bytes are cut") {
  auto text = std::string{"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                          "chunked\r\n\r\n4;ext=1\r\nabcd\r\n2\r\nef\r\n0\r\nT: 1\r\n\r\nrest"};
  for (uint64_t seed = 0; seed < testing::seeds(300); ++seed) {
    auto random = std::mt19937_64{seed};
    auto budget = byte_budget{1024};
    auto reader = request_reader{1024, 64, budget};
    auto pending = std::string{};
    auto rest = std::string_view{text};
    while (reader.where() != phase::complete && !rest.empty()) {
      auto size = std::min<size_t>(rest.size(), 1 + random() % 7);
      pending += rest.substr(0, size);
      rest.remove_prefix(size);
      for (auto used = reader.feed(pending); used > 0; used = reader.feed(pending))
        pending.erase(0, used);
    }
    REQUIRE(reader.where() == phase::complete);
    CHECK(reader.take().body == "abcdef");
    CHECK(pending + std::string{rest} == "rest");
  }
}

TEST_CASE("request_reader: malformed and oversized requests fail with the fitting status") {
  CHECK(status_of("nonsense\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/3.0\r\nHost: h\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\n\r\n") == 400); // no Host
  CHECK(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") == 400);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: h\r\nBad Header: x\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65\r\n\r\n") == 413);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n" + std::string(65, 'x'))
        == 413);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(1024, 'x') + "\r\n\r\n") == 431);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(2048, 'x')) == 431); // not even complete
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(2048, 'x'))
        == 431);
  CHECK(status_of("POST / HTTP/1.1\r\nHost: h\r\nExpect: coffee\r\nContent-Length: 1\r\n\r\n") == 417);
}

TEST_CASE("request_reader: bodies share a budget") {
  auto budget = byte_budget{100};
  auto text = std::string{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\n\r\n"};
  auto first = request_reader{1024, 64, budget};
  auto second = request_reader{1024, 64, budget};
  for (auto* reader : {&first, &second}) {
    CHECK(reader->feed(text) == text.size());
    reader->feed(std::string(60, 'x'));
  }
  CHECK(first.where() == phase::complete);
  REQUIRE(second.where() == phase::failed);
  CHECK(second.error().http_status == 429);
  CHECK(budget.used() == 60);
}

TEST_CASE("request_reader: a client that waits for 100-continue is told apart") {
  auto one = one_reader{"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"};
  CHECK(one.reader.where() == phase::body);
  CHECK(one.reader.expects_continue());
}

TEST_CASE("request_reader: HTTP/1.0 needs no Host and closes unless asked not to") {
  auto one = one_reader{"GET / HTTP/1.0\r\n\r\n"};
  REQUIRE(one.reader.where() == phase::complete);
  auto request = one.reader.take();
  CHECK(request.http_1_0);
  CHECK_FALSE(request.keep_alive);
}

TEST_CASE("request_reader: random bytes never crash it") {
  const auto original =
    std::string{"POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"};
  auto failures = 0;
  for (uint64_t seed = 0; seed < testing::seeds(5000); ++seed) {
    auto random = std::mt19937_64{seed};
    auto text = original;
    for (auto changes = 1 + random() % 5; changes > 0; --changes)
      text[random() % text.size()] = static_cast<char>(random());
    auto one = one_reader{text};
    failures += one.reader.where() == phase::failed;
    if (one.reader.where() == phase::failed)
      CHECK(one.reader.error().http_status >= 400);
    one.reader.take();
  }
  CHECK(failures > 0);
}

TEST_CASE("routes: paths are matched whole, ids decoded, queries left aside") {
  CHECK(match_route("/v1/models")->where == route::models);
  CHECK(match_route("/v1/models?x=1")->where == route::models);
  CHECK(match_route("/v1/models/org/small")->argument == "org/small");
  CHECK(match_route("/v1/models/org%2Fsmall")->argument == "org/small");
  CHECK(match_route("/cluster/requests/cmpl-1")->where == route::request);
  CHECK(match_route("/v1/completions")->allow == "POST, OPTIONS");
  for (auto nothing :
       {"", "*", "/v1", "/v1/models/", "/v1/modelsx", "/v1/completions/", "//", "/v1/models/%zz", "/v1/models/%2"})
    CHECK_FALSE(match_route(nothing));
}

} // namespace perigee::gateway
