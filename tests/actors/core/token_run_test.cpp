// SPDX-License-Identifier: Apache-2.0
#include "actors/core/token_run.hpp"
#include "tests/support/testing.hpp"

#include <random>

using namespace perigee;

TEST_CASE("token_run: it agrees with a vector, however long it is, copied, moved, shortened or filled up") {
  for (auto seed = 1u; seed <= 200; ++seed) {
    auto random = std::mt19937{seed};
    auto below = [&](uint32_t bound) { return random() % bound; };
    auto run = token_run{};
    auto other = token_run{};
    auto model = std::vector<token_id>{};
    auto other_model = std::vector<token_id>{};
    for (auto step = 0; step < 60; ++step) {
      auto token = static_cast<token_id>(below(1000));
      switch (below(8)) {
      case 0:
        other = run;
        other_model = model;
        break;
      case 1:
        std::swap(run, other);
        std::swap(model, other_model);
        break;
      case 2: {
        auto size = below(12);
        run.resize(size);
        model.resize(size);
        break;
      }
      case 3: {
        auto place = below(static_cast<uint32_t>(model.size()) + 1);
        auto at = run.insert(std::as_const(run).begin() + place, other.begin(), other.end());
        CHECK_EQ(at - run.begin(), place);
        model.insert(model.begin() + place, other_model.begin(), other_model.end());
        if (model.size() > 30) {
          run.clear();
          model.clear();
        }
        break;
      }
      case 4: {
        auto moved = std::move(run);
        CHECK(run.empty());
        run = std::move(moved);
        break;
      }
      default: run.push_back(token); model.push_back(token);
      }
      REQUIRE(run == model);
      REQUIRE(other == other_model);
      REQUIRE_EQ(run.size(), model.size());
    }
  }
}
