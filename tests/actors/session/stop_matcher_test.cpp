// SPDX-License-Identifier: Apache-2.0
#include "actors/session/stop_matcher.hpp"
#include "actors/session/token_order.hpp"
#include "tests/support/testing.hpp"

#include <random>

using namespace perigee;

TEST_CASE("stop_matcher: text that may begin a stop string is withheld, and comes when it does not") {
  auto stops = stop_matcher{{"END", "\n\n"}};
  CHECK_EQ(stops.push("one E").text, "one ");
  CHECK_EQ(stops.push("N").text, "");
  CHECK_EQ(stops.push("T\n").text, "ENT");
  auto found = stops.push("\nrest");
  CHECK(found.stopped);
  CHECK_EQ(found.text, "");
}

TEST_CASE("stop_matcher: cut anywhere, a text gives the same as in one piece") {
  for (uint64_t seed = 1; seed <= testing::seeds(500); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto text = std::string{};
    for (auto i = 0; i < 40; ++i)
      text += "abc"[random() % 3];
    auto list = std::vector<std::string>{};
    for (auto i = random() % 3; i < 3; ++i) {
      auto& stop = list.emplace_back();
      for (auto j = random() % 4; j < 4; ++j)
        stop += "abc"[random() % 3];
    }
    auto end = std::string::npos;
    for (const auto& stop : list)
      end = std::min(end, text.find(stop));
    auto stops = stop_matcher{list};
    auto got = std::string{};
    auto stopped = false;
    for (auto at = size_t{0}; at < text.size() && !stopped;) {
      auto size = 1 + random() % 5;
      auto found = stops.push(text.substr(at, size));
      got += found.text;
      stopped = found.stopped;
      at += size;
    }
    if (!stopped)
      got += stops.flush();
    CHECK_EQ(stopped, end != std::string::npos);
    // A later piece may hold an earlier match of a longer stop string; what came out before is a prefix either way.
    CHECK_EQ(got.substr(0, std::min(end, got.size())), text.substr(0, std::min(end, got.size())));
    CHECK(got.size() <= std::min(end, text.size()));
  }
}

TEST_CASE("token_order: tokens come out once and in order, whatever comes twice or late") {
  for (uint64_t seed = 1; seed <= testing::seeds(300); ++seed) {
    CAPTURE(seed);
    auto random = std::mt19937_64{seed};
    auto updates = std::vector<token_update>{};
    auto all = std::vector<token_id>{};
    for (auto i = 0; i < 30; ++i)
      all.push_back(i * 3);
    for (auto i = 0u; i < 30; ++i)
      for (auto copies = 1 + random() % 2; copies > 0; --copies) {
        auto size = 1 + random() % std::min<uint64_t>(4, 30 - i);
        auto update = token_update{};
        update.first = i;
        update.tokens = token_run(all.begin() + i, all.begin() + i + static_cast<ptrdiff_t>(size));
        if (i + size == 30)
          update.finish = finish_reason::length;
        updates.push_back(update);
      }
    std::shuffle(updates.begin(), updates.end(), random);
    auto order = token_order{};
    auto got = std::vector<token_id>{};
    auto finishes = 0;
    for (const auto& update : updates) {
      auto news = order.push(update);
      got.insert(got.end(), news.tokens.begin(), news.tokens.end());
      if (news.finish != finish_reason::none) {
        ++finishes;
        CHECK_EQ(got.size(), 30);
      }
    }
    CHECK_EQ(got, all);
    CHECK(finishes >= 1);
  }
}
