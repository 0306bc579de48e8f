// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/load_progress.hpp"
#include "tests/support/testing.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace perigee::cli;

TEST_CASE("load_progress: the listener hears every step, the log none of a node that is quick") {
  auto heard = std::vector<std::pair<std::string, uint32_t>>{};
  auto news = std::vector<std::string>{};
  {
    auto progress =
      load_progress{[&](const std::string& detail, uint32_t percent) { heard.emplace_back(detail, percent); },
                    [&](const std::string& line) { news.push_back(line); }, false};
    progress.on("reading the weights", 0);
    progress.on("packing the weights", 0.429);
    progress.on("packing the weights", 1);
  }
  using step = std::pair<std::string, uint32_t>;
  CHECK(heard
        == std::vector<step>{
          {"reading the weights, 0 %", 0}, {"packing the weights, 42 %", 42}, {"packing the weights, 100 %", 100}});
  CHECK(news.empty());
}
