// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/session/session_script.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

choice_stream stream_with(std::vector<std::string> stops) {
  return {std::make_unique<letter_decoder>(), std::move(stops)};
}

token_update update(uint32_t first, std::vector<token_id> tokens, finish_reason finish = finish_reason::none) {
  return {ticket_of(1), 0, first, token_run(tokens.begin(), tokens.end()), finish, 0};
}

} // namespace

TEST_CASE("token_order: doubles, overlaps and gaps give each token once, in order") {
  auto order = token_order{};
  CHECK(order.push(update(0, {1, 2})).tokens == std::vector<token_id>{1, 2});
  CHECK(order.push(update(0, {1, 2})).tokens.empty());
  CHECK(order.push(update(4, {5})).tokens.empty());
  CHECK(order.push(update(1, {2, 3})).tokens == std::vector<token_id>{3});
  CHECK(order.push(update(3, {4})).tokens == std::vector<token_id>{4, 5});
  CHECK_EQ(order.have(), 5);
}

TEST_CASE("token_order: a finish counts once everything before it is here") {
  auto order = token_order{};
  CHECK(order.push(update(1, {2}, finish_reason::stop)).finish == finish_reason::none);
  auto news = order.push(update(0, {1}));
  CHECK(news.finish == finish_reason::stop);
  CHECK_EQ(news.tokens.size(), 2);
  auto longer = token_order{};
  longer.push(update(0, {1, 2, 3}));
  CHECK(longer.push(update(0, {1}, finish_reason::failed)).finish == finish_reason::none); // Of one that fell behind.
}

TEST_CASE("token_order: a new attempt forgets what waits, not what came") {
  auto order = token_order{};
  order.push(update(0, {1}));
  order.push(update(2, {9}, finish_reason::stop));
  order.restart();
  auto news = order.push(update(1, {2}));
  CHECK(news.tokens == std::vector<token_id>{2});
  CHECK(news.finish == finish_reason::none);
}

TEST_CASE("choice_stream: text comes with its tokens; an end token has none, and the decoder's rest comes last") {
  auto it = stream_with({});
  auto first = it.push(update(0, {0, 1}));
  CHECK_EQ(first.text, "ab");
  CHECK_EQ(first.tokens.size(), 2);
  auto last = it.push(update(2, {2, end_token}, finish_reason::stop));
  CHECK_EQ(last.text, "c.");
  CHECK_EQ(last.tokens.size(), 2);
  CHECK(last.finish == finish_reason::stop);
  CHECK_FALSE(last.stopped);
  CHECK_EQ(it.delivered(), 4);
  auto full = stream_with({});
  CHECK_EQ(full.push(update(0, {0, 1}, finish_reason::length)).text, "ab.");
}

TEST_CASE("choice_stream: a stop string ends it, however far the instance ran ahead") {
  for (auto at_once : {true, false}) {
    CAPTURE(at_once);
    auto it = stream_with({"cd"});
    auto text = std::string{};
    auto tokens = size_t{0};
    auto news = choice_stream::piece{};
    auto all = std::vector<token_id>{0, 1, 2, 3, 4, 5};
    for (auto i = 0u; i < 6 && !news.stopped; ++i) {
      news = at_once ? it.push(update(0, all)) : it.push(update(i, {all[i]}));
      text += news.text;
      tokens += news.tokens.size();
    }
    CHECK(news.finish == finish_reason::stop);
    CHECK(news.stopped);
    CHECK_EQ(text, "ab");
    CHECK_EQ(tokens, 4);
    CHECK_EQ(it.delivered(), 4);
    CHECK_EQ(it.have(), at_once ? 6 : 4);
  }
}

TEST_CASE("choice_stream: what may begin a stop string is withheld, and given out when the choice ends otherwise") {
  auto it = stream_with({"bcd"});
  CHECK_EQ(it.push(update(0, {0, 1, 2})).text, "a");
  auto last = it.push(update(3, {}, finish_reason::length));
  CHECK_EQ(last.text, "bc.");
  CHECK(last.finish == finish_reason::length);
}

TEST_CASE("choice_stream: a stop string that the decoder's rest completes ends it too") {
  auto it = stream_with({"b."});
  auto last = it.push(update(0, {0, 1}, finish_reason::length));
  CHECK_EQ(last.text, "a");
  CHECK(last.finish == finish_reason::stop);
  CHECK_FALSE(last.stopped); // The instance ended it as well.
}

TEST_CASE("choice_stream: an attempt that ended early takes nothing back and flushes nothing") {
  auto it = stream_with({});
  auto news = it.push(update(0, {0}, finish_reason::preempted));
  CHECK_EQ(news.text, "a");
  CHECK(news.finish == finish_reason::preempted);
  it.restart();
  CHECK_EQ(it.push(update(1, {1})).text, "b");
}
