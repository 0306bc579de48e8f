// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/status_report.hpp"
#include "apps/perigee/text_table.hpp"
#include "tests/support/testing.hpp"

#include <boost/json/parse.hpp>

using namespace perigee::cli;

TEST_CASE("text_table: columns are aligned, numbers to the right, nothing trails") {
  auto table = text_table{{"NAME", "COUNT", "NOTE"}};
  CHECK(table.empty());
  table.add({"a", "7", "x"});
  table.add({"long-name", "1234567", ""});
  CHECK(!table.empty());
  CHECK(table.text()
        == "NAME         COUNT  NOTE\n"
           "a                7  x\n"
           "long-name  1234567\n");
}

TEST_CASE("status: the tables show instances, shards and the share of memory in use") {
  auto text = render_cluster(boost::json::parse(R"({
    "model": "tiny",
    "conductor": {"node": "a", "term": 3, "policy": "kvcache-centric", "waiting": 1, "placements": 12, "rejections": 0},
    "instances": [
      {"name": "prefill-0", "node": "b", "alive": true, "running": 1, "waiting": 2, "slots_total": 200, "slots_free": 150,
       "slots_transfer": 5, "incarnation": 77},
      {"name": "decode-0", "node": "d", "alive": false, "running": 0, "waiting": 0, "slots_total": 0, "slots_free": 0,
       "slots_transfer": 0, "incarnation": 78}],
    "shards": [{"name": "shard-0", "node": "b", "alive": true, "blocks_total": 10, "blocks_used": 4, "leases": 1, "incarnation": 79}],
    "sessions": {"open": 1, "waiting": 0, "requests": 9, "resubmitted": 0, "prompt_tokens": 1000, "cached_tokens": 250}
  })"));
  CHECK(
    text.find("model tiny; Conductor on node a (term 3, policy kvcache-centric): 1 waiting, 12 placed, 0 rejected\n")
    == 0);
  CHECK(text.find("prefill-0  b     up           1        2  25 %") != std::string::npos);
  CHECK(text.find("decode-0   d     lost") != std::string::npos);
  CHECK(text.find("shard-0  b     up           40 %") != std::string::npos);
  CHECK(text.find("250 of 1000 prompt tokens from the cache (25 %)") != std::string::npos);
  CHECK(text.find("KV moved") == std::string::npos);
}

TEST_CASE("status: absent and odd fields become dashes instead of errors") {
  auto text = render_cluster(boost::json::parse(R"({"instances": [{"name": "x"}, 7], "shards": {}, "sessions": []})"));
  CHECK(text.find("model -\n") == 0);
  CHECK(text.find("x         -     up     -") != std::string::npos);
  CHECK(render_cluster(boost::json::parse("[]")) == "no cluster\n");
}

TEST_CASE("render_loading: a gateway whose node is loading has one line, everything else none") {
  CHECK(render_loading(R"({"status":"loading","detail":"packing the weights, 42 %","loaded_percent":42})")
        == "loading: packing the weights, 42 %\n");
  for (const char* other : {"", "[]", R"({"status":"draining","detail":"x"})", R"({"status":"loading"})",
                            R"({"status":"loading","detail":7})", R"({"error":{}})"})
    CHECK(!render_loading(other));
}
