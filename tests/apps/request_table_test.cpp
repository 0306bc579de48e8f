// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/client_errors.hpp"
#include "apps/perigee/request_table.hpp"
#include "tests/apps/recording_sink.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::cli;
using perigee::gateway::cancel_reason;
using perigee::gateway::recording_sink;

using lines = std::vector<std::string>;

namespace {

gateway::completion_spec small_spec() {
  auto spec = gateway::completion_spec{};
  spec.id = "cmpl-1";
  spec.prompt = {1, 2, 3};
  spec.choices = 2;
  spec.max_tokens = 7;
  return spec;
}

/// One request, number 5, with two choices.
struct one_request {
  one_request() {
    table.open(5, small_spec(), sink);
  }

  std::shared_ptr<recording_sink> sink = std::make_shared<recording_sink>();
  request_table table;
};

} // namespace

TEST_CASE("request_table: a spec becomes the session's message with nothing lost") {
  auto spec = small_spec();
  spec.sampling.temperature = 0.5f;
  spec.sampling.stop_ids = {2};
  spec.seed = 99;
  spec.stop = {"\n"};
  spec.deadline = std::chrono::milliseconds{1500};
  auto table = request_table{};
  auto request = table.open(5, spec, std::make_shared<recording_sink>());
  CHECK(request.client == 5);
  CHECK(request.prompt == std::vector<token_id>{1, 2, 3});
  CHECK(request.choices == 2);
  CHECK(request.max_tokens == 7);
  CHECK(request.sampling.temperature == 0.5f);
  CHECK(request.sampling.stop_ids == std::vector<token_id>{2});
  CHECK(request.seeded);
  CHECK(request.sampling.seed == 99);
  CHECK(request.stop == lines{"\n"});
  CHECK(request.deadline_ns == 1'500'000'000);
  CHECK(!table.open(6, small_spec(), std::make_shared<recording_sink>()).seeded);
}

TEST_CASE("request_table: text is counted by choice, and nothing comes after the end") {
  auto one = one_request{};
  one.table.on(client_text{5, 0, "a", {7, 8}});
  one.table.on(client_text{5, 1, "x", {7}});
  one.table.on(client_text{5, 0, "", {9}});
  one.table.on(client_finish{5, 0, finish_reason::stop});
  one.table.on(client_finish{5, 1, finish_reason::length});
  one.table.on(client_end{5, 3, 4, 2});
  one.table.on(client_text{5, 0, "late", {1}});
  one.table.on(client_error{5, ec::deadline, "", 0});
  CHECK(one.sink->calls()
        == lines{"text 0 2 a", "text 1 1 x", "text 0 3 ", "finish 0 stop", "finish 1 length", "end 3 4 2"});
  CHECK(one.table.size() == 0);
}

TEST_CASE("request_table: a paused request keeps its text, in order, and ends after it goes on") {
  auto one = one_request{};
  one.table.on(client_text{5, 0, "a", {1}});
  one.table.set_paused(5, true);
  one.table.on(client_text{5, 0, "b", {2}});
  one.table.on(client_text{5, 0, "c", {3}});
  one.table.on(client_text{5, 1, "x", {2}});
  one.table.on(client_finish{5, 1, finish_reason::length});
  CHECK(one.sink->calls() == lines{"text 0 1 a"});
  one.table.set_paused(5, false);
  CHECK(one.sink->calls() == lines{"text 0 1 a", "text 0 3 bc", "text 1 1 x", "finish 1 length"});
  one.table.set_paused(5, true);
  one.table.on(client_finish{5, 0, finish_reason::stop});
  one.table.on(client_end{5, 3, 4, 0});
  CHECK(one.sink->calls().size() == 4);
  CHECK(one.table.size() == 1);
  one.table.set_paused(5, false);
  CHECK(one.sink->calls().back() == "end 3 4 0");
  CHECK(one.table.size() == 0);
}

TEST_CASE("request_table: an error reaches a paused request at once and is the last call") {
  auto one = one_request{};
  one.table.set_paused(5, true);
  one.table.on(client_text{5, 0, "b", {2}});
  one.table.on(client_error{5, ec::deadline, "the deadline passed", 0});
  one.table.set_paused(5, false);
  CHECK(one.sink->calls() == lines{"error 504 The request did not finish within its deadline: the deadline passed."});
}

TEST_CASE("request_table: a cancelled request is silent, and the session hears why") {
  for (auto [reason, code] :
       {std::pair{cancel_reason::client_gone, ec::cancelled}, std::pair{cancel_reason::abandoned, ec::cancelled},
        std::pair{cancel_reason::slow_client, ec::slow_client}}) {
    auto one = one_request{};
    auto message = one.table.cancel(5, reason);
    REQUIRE(message);
    CHECK(message->client == 5);
    CHECK(message->reason == code);
    one.table.on(client_text{5, 0, "late", {1}});
    one.table.on(client_error{5, code, "", 0});
    CHECK(one.sink->calls().empty());
    CHECK(!one.table.cancel(5, reason));
  }
}

TEST_CASE("request_table: what the session is done with is cancelled without it") {
  auto one = one_request{};
  one.table.set_paused(5, true);
  one.table.on(client_end{5, 3, 4, 0});
  CHECK(!one.table.cancel(5, cancel_reason::slow_client));
  CHECK(one.table.size() == 0);
}

TEST_CASE("request_table: when the session is lost every request fails, but not those it had finished") {
  auto one = one_request{};
  auto other = std::make_shared<recording_sink>();
  one.table.open(6, small_spec(), other);
  one.table.set_paused(6, true);
  one.table.on(client_end{6, 3, 4, 0});
  one.table.fail_all(gateway::unavailable("Gone.", 5));
  CHECK(one.sink->calls() == lines{"error 503 Gone."});
  CHECK(other->calls().empty());
  one.table.set_paused(6, false);
  CHECK(other->calls() == lines{"end 3 4 0"});
}

TEST_CASE("request_table: records tell what a request is called in the cluster and what it reused") {
  auto one = one_request{};
  CHECK(one.table.log().number_of("cmpl-1") == 0);
  one.table.on(client_opened{5, {70, 4}});
  one.table.on(client_opened{77, {70, 5}});
  auto number = one.table.log().number_of("cmpl-1");
  REQUIRE(one.table.log().find(number));
  CHECK(one.table.log().find(number)->request == request_id{70, 4});
  CHECK(one.table.log().find(number)->prompt_tokens == 3);
  CHECK(!one.table.log().find(number)->cached_tokens);
  one.table.on(client_end{5, 3, 4, 2});
  CHECK(one.table.log().find(number)->cached_tokens == 2);
  CHECK(one.table.log().newest(9) == std::vector<uint64_t>{number});
}

TEST_CASE("request_log: only the newest are kept, and a name means its newest record") {
  auto log = request_log{2};
  CHECK(log.newest(3).empty());
  auto first = log.add({"a", {1, 1}, 1, {}, {}});
  auto second = log.add({"a", {1, 2}, 1, {}, {}});
  auto third = log.add({"c", {1, 3}, 1, {}, {}});
  CHECK(log.find(first) == nullptr);
  CHECK(log.find(third + 1) == nullptr);
  CHECK(log.find(0) == nullptr);
  CHECK(log.number_of("a") == second);
  CHECK(log.newest(9) == std::vector<uint64_t>{third, second});
  CHECK(log.newest(1) == std::vector<uint64_t>{third});
  log.add({"d", {1, 4}, 1, {}, {}});
  CHECK(log.number_of("a") == 0);
}

TEST_CASE("client_errors: every code has the HTTP status that tells the client what to do") {
  auto map = [](ec code, uint64_t retry_after_ns = 0) { return to_api_error({1, code, "why", retry_after_ns}); };
  CHECK(map(ec::overloaded).http_status == 429);
  CHECK(map(ec::overloaded).retry_after_s == 1);
  CHECK(map(ec::overloaded, 2'000'000'001).retry_after_s == 3);
  CHECK(map(ec::overloaded, UINT64_MAX).retry_after_s == 3600);
  CHECK(map(ec::out_of_blocks).http_status == 429);
  for (auto code : {ec::no_instance, ec::draining, ec::peer_lost, ec::instance_failed}) {
    CHECK(map(code).http_status == 503);
    CHECK(map(code).retry_after_s);
  }
  CHECK(map(ec::deadline).http_status == 504);
  CHECK(map(ec::too_long).http_status == 400);
  CHECK(map(ec::too_long).param == "prompt");
  CHECK(map(ec::too_long).code == "context_length_exceeded");
  CHECK(map(ec::stale).http_status == 500);
  CHECK(map(ec::stale).message.find("\"stale\": why.") != std::string::npos);
  CHECK(to_api_error({1, ec::overloaded, "", 0}).message == "The cluster takes no more requests right now.");
}
