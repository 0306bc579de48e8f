// SPDX-License-Identifier: Apache-2.0
#include "actors/node/cluster_config.hpp"
#include "actors/node/config_keys.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

using namespace perigee::actors;
using namespace std::chrono_literals;

namespace {

const auto known = known_policies{{"perigee", "least-seconds"}, {"none", "early"}};

constexpr auto three_nodes = R"(# a small cluster
perigee {
  model = "some/dir/tiny"
  block-tokens = 32
  request-timeout = 2min
  slo { ttft = 5s, tbt = 250ms }
  policy { route = "least-seconds", admission = "none" }
  log { level = "quiet" }
  nodes = [
    { name = "a", host = "10.0.0.1", control = 7001, http = 8000, roles = ["gateway", "conductor"] },
    { name = "b", host = "10.0.0.2", control = 7001, roles = ["prefill", "shard"], prefill-count = 2,
      kv-memory = "64MiB", shard-memory = "1GiB", threads = 3 },
    { name = "c", host = "10.0.0.3", control = 7001, roles = ["decode"] },
  ]
}
)";

loaded_config parse(const std::string& text) {
  return parse_cluster_config(text, "test.conf", known);
}

/// `three_nodes` with one part replaced.
std::string with(const std::string& part, const std::string& replacement) {
  auto text = std::string{three_nodes};
  auto at = text.find(part);
  REQUIRE(at != std::string::npos);
  return text.replace(at, part.size(), replacement);
}

std::vector<std::string> errors_of(const std::string& text) {
  auto loaded = parse(text);
  auto out = std::vector<std::string>{};
  if (auto* errors = std::get_if<std::vector<config_error>>(&loaded))
    for (const auto& error : *errors)
      out.push_back(to_string(error));
  return out;
}

/// The only error of `three_nodes` with one part replaced.
std::string error_with(const std::string& part, const std::string& replacement) {
  auto errors = errors_of(with(part, replacement));
  CAPTURE(replacement);
  REQUIRE(errors.size() == 1);
  return errors.front();
}

bool any_starts_with(const std::vector<std::string>& lines, const std::string& prefix) {
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.starts_with(prefix); });
}

} // namespace

TEST_CASE("cluster config: device, weights and batch invariance are read, and refused by name") {
  auto loaded = parse(with("threads = 3", "threads = 3, device = \"cuda:1\""));
  REQUIRE(std::holds_alternative<cluster_config>(loaded));
  CHECK(std::get<cluster_config>(loaded).nodes[1].device == "cuda:1");
  auto choice = parse_device_choice("cuda:12");
  REQUIRE(choice);
  CHECK(choice->what == device_choice::kind::cuda);
  CHECK(choice->index == 12);
  for (const auto* wrong : {"gpu", "cuda:", "cuda:x", "cuda:1x", ""})
    CHECK_FALSE(parse_device_choice(wrong));
  CHECK(error_with("threads = 3", "device = \"gpu\"")
        == "perigee.nodes[1].device: found \"gpu\", allowed: auto, cpu, cuda, cuda:N");
  loaded = parse(with("block-tokens = 32", "weights = \"int8\", batch-invariant = true"));
  REQUIRE(std::holds_alternative<cluster_config>(loaded));
  CHECK(std::get<cluster_config>(loaded).weights == "int8");
  CHECK(std::get<cluster_config>(loaded).batch_invariant);
  loaded = parse(with("threads = 3", "threads = 3, pin-threads = true"));
  REQUIRE(std::holds_alternative<cluster_config>(loaded));
  CHECK(std::get<cluster_config>(loaded).nodes[1].pin_threads);
  CHECK_FALSE(std::get<cluster_config>(loaded).nodes[2].pin_threads);
  CHECK(embedded_config(std::get<cluster_config>(loaded)).nodes.front().pin_threads);
  CHECK(error_with("block-tokens = 32", "weights = \"int4\"")
        == "perigee.weights: found \"int4\", allowed: stored, int8");
  CHECK(error_with("block-tokens = 32", "batch-invariant = 1").find("true or false") != std::string::npos);
}

TEST_CASE("cluster_config: a cluster file is read as written, with defaults where it is silent") {
  auto loaded = parse(three_nodes);
  auto* config = std::get_if<cluster_config>(&loaded);
  REQUIRE(config != nullptr);
  CHECK(config->model == "some/dir/tiny");
  CHECK(config->served_name() == "tiny");
  CHECK(config->block_tokens == 32);
  CHECK(config->request_timeout == 2min);
  CHECK(config->provider == "tcp;ofi_rxm");
  CHECK(config->max_batch == 16);
  CHECK(config->slo.ttft == 5s);
  CHECK(config->slo.tbt == 250ms);
  CHECK(config->policy.route == "least-seconds");
  CHECK(config->policy.admission == "none");
  CHECK(config->log.level == "quiet");
  REQUIRE(config->nodes.size() == 3);
  const auto& b = config->nodes[1];
  CHECK(b.host == "10.0.0.2");
  CHECK(b.control == 7001);
  CHECK(b.http == 0);
  CHECK(b.count(node_role::prefill) == 2);
  CHECK(b.count(node_role::shard) == 1);
  CHECK(b.count(node_role::decode) == 0);
  CHECK(b.kv_memory == 64u << 20);
  CHECK(b.shard_memory == 1u << 30);
  CHECK(b.threads == 3);
  CHECK(config->count(node_role::prefill) == 2);
  CHECK(config->find("c") == &config->nodes[2]);
  CHECK(config->find("d") == nullptr);
}

TEST_CASE("cluster_config: a wrong value is named with its path, what was found and what is allowed") {
  CHECK(error_with("block-tokens = 32", "block-tokens = 0") == "perigee.block-tokens: found 0, allowed 1 to 1024");
  CHECK(error_with("block-tokens = 32", "block-tokens = -4") == "perigee.block-tokens: found -4, allowed 1 to 1024");
  CHECK(error_with("block-tokens = 32", "block-tokens = \"32\"")
        == "perigee.block-tokens: found \"32\", expected a whole number, 1 to 1024");
  CHECK(error_with("\"64MiB\"", "\"64 megs\"")
        == "perigee.nodes[1].kv-memory: found \"64 megs\", expected a size such as \"256MiB\" (B, KiB, MiB, GiB, TiB)");
  CHECK(error_with("\"64MiB\"", "\"1KiB\"") == "perigee.nodes[1].kv-memory: found 1KiB, allowed 4KiB to 64TiB");
  CHECK(error_with("ttft = 5s", "ttft = 5")
        == "perigee.slo.ttft: found 5, expected a duration without quotes, such as 100ms, 30s or 10min");
  CHECK(error_with("tbt = 250ms", "tbt = 10us") == "perigee.slo.tbt: found 10us, allowed 1ms to 24h");
  CHECK(error_with("tbt = 250ms", "tbt = -1s") == "perigee.slo.tbt: found -1s, allowed 1ms to 24h");
  CHECK(error_with("http = 8000", "http = 80000") == "perigee.nodes[0].http: found 80000, allowed 1 to 65535");
  CHECK(error_with("\"quiet\"", "\"loud\"")
        == "perigee.log.level: found \"loud\", allowed: info, quiet");
  CHECK(error_with("slo { ttft = 5s, tbt = 250ms }", "slo = 5s")
        == "perigee.slo: found 5s, expected a section: { ... }");
  CHECK(error_with("[\"decode\"]", "[\"decoder\"]")
        == "perigee.nodes[2].roles: found \"decoder\", expected one of \"gateway\", \"conductor\", \"prefill\", "
           "\"decode\", "
           "\"shard\"");
}

TEST_CASE("cluster_config: an unknown key is answered with the nearest known one, or with all of them") {
  CHECK(error_with("block-tokens", "block-token")
        == "perigee.block-token: unknown key; did you mean \"block-tokens\"?");
  CHECK(error_with("ttft", "tftt") == "perigee.slo.tftt: unknown key; did you mean \"ttft\"?");
  CHECK(error_with("kv-memory", "kv_memory") == "perigee.nodes[1].kv_memory: unknown key; did you mean \"kv-memory\"?");
  CHECK(error_with("tbt", "something-else") == "perigee.slo.something-else: unknown key; known here: ttft tbt");
  CHECK(error_with("# a small cluster", "caf { scheduler { max-threads = 2 } }").starts_with("caf: unknown key"));
}

TEST_CASE("cluster_config: a key with dots is refused wherever it stands, instead of being dropped") {
  auto advice = std::string{"keys with dots are not read; write sections: perigee { slo { ttft = 30s } }"};
  CHECK(error_with("slo { ttft = 5s, tbt = 250ms }", "slo.ttft = 5s") == "perigee.slo.ttft: " + advice);
  CHECK(error_with("# a small cluster", "caf.scheduler.max-threads = 2") == "caf.scheduler.max-threads: " + advice);
  CHECK(error_with("threads = 3", "cpu.threads = 3") == "perigee.nodes[1].cpu.threads: " + advice);
}

TEST_CASE("cluster_config: missing parts are named") {
  CHECK(error_with("  model = \"some/dir/tiny\"\n", "").starts_with("perigee.model: missing: directory of the model"));
  CHECK(error_with("http = 8000, ", "") == "perigee.nodes[0].http: missing: the port of this node's gateway");
  CHECK(error_with("name = \"c\", ", "").starts_with("perigee.nodes[2].name: missing"));
  CHECK(error_with(", roles = [\"decode\"]", ", roles = [\"shard\"]")
        == "perigee.nodes: no node has the role \"decode\"; the cluster needs one");
  CHECK(error_with("\"10.0.0.3\", control = 7001", "\"10.0.0.3\"")
        == "perigee.nodes[2].control: missing: the port of the link between nodes");
  CHECK(errors_of("") == std::vector<std::string>{"perigee: missing: the section that describes the cluster"});
  auto all = errors_of("perigee { model = \"m\" }");
  CHECK(all == std::vector<std::string>{"perigee.nodes: missing: the list of nodes"});
  all = errors_of("perigee { model = \"m\"\n nodes = [ { name = \"x\", roles = [\"shard\"] } ] }");
  CHECK(all.size() == 4); // gateway, conductor, prefill, decode
}

TEST_CASE("cluster_config: contradictions are named on both sides") {
  CHECK(error_with("name = \"c\"", "name = \"b\"")
        == "perigee.nodes[2].name: \"b\" is also the name of perigee.nodes[1]; names are unique");
  CHECK(error_with("name = \"c\"", "name = \"c d\"").starts_with("perigee.nodes[2].name: found \"c d\""));
  CHECK(error_with("host = \"10.0.0.3\"", "host = \"10.0.0.2\"")
        == "perigee.nodes[2].control: port 7001 of 10.0.0.2 is already taken by perigee.nodes[1].control");
  CHECK(error_with("http = 8000", "http = 7001")
        == "perigee.nodes[0].http: port 7001 of 10.0.0.1 is already taken by perigee.nodes[0].control");
  CHECK(error_with("[\"decode\"]", "[\"decode\", \"conductor\"]")
        == "perigee.nodes: 2 nodes have the role \"conductor\" (\"a\", \"c\"); exactly one may");
  CHECK(error_with("[\"decode\"]", "[\"decode\"], http = 8001")
          .starts_with("perigee.nodes[2].http: given, but the node has no"));
  CHECK(error_with("[\"decode\"]", "[\"decode\"], shard-memory = \"1MiB\"")
          .starts_with("perigee.nodes[2].shard-memory: given, but"));
  CHECK(error_with("[\"decode\"]", "[\"decode\", \"decode\"]")
          .starts_with("perigee.nodes[2].roles: \"decode\" stands there twice"));
  CHECK(error_with("[\"decode\"]", "[\"decode\"], begin-as = \"decode\"")
        == "perigee.nodes[2].begin-as: given, but the node has no role prefill or no role decode; add the role or drop the key");
  CHECK(error_with("[\"decode\"]", "[\"prefill\", \"decode\"], begin-as = \"shard\"")
        == "perigee.nodes[2].begin-as: found \"shard\", allowed: both, prefill, decode");
  CHECK(error_with("request-timeout = 2min", "request-timeout = 1s")
          .starts_with("perigee.request-timeout: found 1s, which is"));
  CHECK(
    error_with("host = \"10.0.0.3\"", "host = \"0.0.0.0\"").starts_with("perigee.nodes[2].host: found \"0.0.0.0\""));
  CHECK(error_with("\"least-seconds\"", "\"best\"")
        == "perigee.policy.route: found \"best\", known: \"perigee\", \"least-seconds\"");
  CHECK(error_with("\"none\"", "\"never\"") == "perigee.policy.admission: found \"never\", known: \"none\", \"early\"");
  CHECK(error_with("block-tokens = 32", "block-tokens = 32\n  block-tokens = 16")
        == "perigee.block-tokens: given twice, in lines 4 and 5; keep one");
}

TEST_CASE("cluster_config: everything that is wrong is reported at once") {
  auto text = with("block-tokens = 32", "block-tokens = 0\n  bloc-tokens = 4");
  text.replace(text.find("tbt"), 3, "tbd");
  text.replace(text.find("\"64MiB\""), 7, "true");
  text.replace(text.find("\"decode\""), 8, "7");
  auto errors = errors_of(text);
  CHECK(errors.size() == 5);
  CHECK(any_starts_with(errors, "perigee.block-tokens:"));
  CHECK(any_starts_with(errors, "perigee.bloc-tokens:"));
  CHECK(any_starts_with(errors, "perigee.slo.tbd:"));
  CHECK(any_starts_with(errors, "perigee.nodes[1].kv-memory:"));
  CHECK(any_starts_with(errors, "perigee.nodes[2].roles:"));
}

TEST_CASE("cluster_config: malformed text is reported with its line") {
  CHECK(errors_of("perigee {\n  model = xyz\n}\n")
        == std::vector<std::string>{"test.conf: unexpected character in line 2, column 11"});
  CHECK(errors_of("perigee {\n  model = \"tiny\"\n")
        == std::vector<std::string>{"test.conf: line 1: '{' is never closed"});
  CHECK(errors_of("perigee {\n} }\n") == std::vector<std::string>{"test.conf: line 2: '}' closes nothing"});
  CHECK(errors_of("perigee {\n  nodes = [ { name = \"a\" ]\n}\n")
        == std::vector<std::string>{"test.conf: line 2: ']' where the '{' of line 2 is still open"});
  auto missing = load_cluster_config("no/such/file.conf", known);
  REQUIRE(std::holds_alternative<std::vector<config_error>>(missing));
  CHECK(std::get<1>(missing).front().path == "no/such/file.conf");
}

TEST_CASE("cluster_config: brackets and dots inside strings and comments mean nothing") {
  auto loaded = parse(with("# a small cluster", "# } ] a.b = 2 \" {"));
  CHECK(std::holds_alternative<cluster_config>(loaded));
  loaded = parse(with("\"some/dir/tiny\"", "\"some/{dir}/ti.ny\" # = {"));
  CHECK(std::holds_alternative<cluster_config>(loaded));
}

TEST_CASE("cluster_config: every truncation of a cluster file is refused or read, never a crash") {
  auto text = std::string{three_nodes};
  auto accepted = 0;
  for (size_t length = 0; length < text.size(); ++length)
    accepted += std::holds_alternative<cluster_config>(parse(text.substr(0, length)));
  CHECK(accepted == 1); // without the last line break
}

TEST_CASE("cluster_config: an embedded cluster is one node with every role and passes the same checks") {
  auto options = embedded_options{};
  options.model = "some/dir/tiny/";
  options.prefill = 2;
  options.decode = 3;
  options.shards = 0;
  auto config = embedded_config(options);
  CHECK(check_cluster_config(config, known).empty());
  CHECK(config.served_name() == "tiny");
  REQUIRE(config.nodes.size() == 1);
  CHECK(config.nodes[0].name == embedded_node_name);
  CHECK(config.count(node_role::prefill) == 2);
  CHECK(config.count(node_role::decode) == 3);
  CHECK(config.count(node_role::shard) == 0);
  config.nodes[0].kv_memory = 1;
  auto errors = check_cluster_config(config, known);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].path == "perigee.nodes[0].kv-memory");
}

TEST_CASE("cluster_config: a cluster folds into one process with the same instances and shards") {
  auto loaded = parse(three_nodes);
  auto folded = embedded_config(std::get<cluster_config>(loaded));
  CHECK(check_cluster_config(folded, known).empty());
  REQUIRE(folded.nodes.size() == 1);
  CHECK(folded.count(node_role::prefill) == 2);
  CHECK(folded.count(node_role::decode) == 1);
  CHECK(folded.count(node_role::shard) == 1);
  CHECK(folded.nodes[0].host == "10.0.0.1");
  CHECK(folded.nodes[0].http == 8000);
  CHECK(folded.nodes[0].shard_memory == 1u << 30);
  CHECK(folded.block_tokens == 32);
}

TEST_CASE("cluster_config: the demo cluster is valid") {
  auto path = (perigee::testing::source_dir() / "apps/demo/cluster.conf").string();
  auto loaded = load_cluster_config(path, known);
  REQUIRE(std::holds_alternative<cluster_config>(loaded));
  const auto& config = std::get<cluster_config>(loaded);
  CHECK(config.nodes.size() == 4);
  CHECK(config.count(node_role::shard) == 3);
}

TEST_CASE("config_keys: docs/operations.md holds the table of keys that validation uses") {
  auto file = std::ifstream{perigee::testing::source_dir() / "docs/operations.md"};
  auto text = std::string{std::istreambuf_iterator<char>{file}, {}};
  auto is_current = text.find(config_keys_markdown()) != std::string::npos;
  CHECK_MESSAGE(is_current, "replace its table by what `perigee doctor --keys` prints");
}

TEST_CASE("config_keys: sizes and durations are written in the largest unit that divides them") {
  CHECK(format_bytes(uint64_t{3} << 30) == "3GiB");
  CHECK(format_bytes(1500) == "1500B");
  CHECK(format_duration(90s) == "90s");
  CHECK(format_duration(2h) == "2h");
  CHECK(parse_bytes("256MiB") == 256u << 20);
  CHECK(parse_bytes("8 KiB") == 8192u);
  CHECK(parse_bytes("77") == 77u);
  CHECK(!parse_bytes("256MB"));
  CHECK(!parse_bytes("MiB"));
  CHECK(!parse_bytes("-1MiB"));
  CHECK(!parse_bytes("99999999999TiB"));
}

TEST_CASE("cluster_config: decode instances may compute short rests of prompts, or all where nobody else does") {
  auto none = parse(three_nodes);
  CHECK(!std::get<cluster_config>(none).policy.conditional);
  auto given = parse(with("admission = \"none\"", "admission = \"none\", conditional { max-uncached-tokens = 99 }"));
  REQUIRE(std::holds_alternative<cluster_config>(given));
  const auto& limits = std::get<cluster_config>(given).policy.conditional;
  REQUIRE(limits.has_value());
  CHECK(limits->uncached_tokens_max == 99);
  CHECK(limits->uncached_percent_max == 70);
  CHECK(error_with("admission = \"none\"", "conditional { max-uncached-percent = 0 }")
        == "perigee.policy.conditional.max-uncached-percent: found 0, allowed 1 to 101");
  CHECK(error_with("admission = \"none\"", "coupled = \"both\"")
        == "perigee.policy.coupled: found \"both\", allowed: none, prefill-first, chunked");
  CHECK(error_with("admission = \"none\"", "coupled = \"chunked\"")
          .starts_with("perigee.policy.coupled: found \"chunked\" with 2 prefill instances"));

  auto text = with("admission = \"none\"", "coupled = \"chunked\"");
  auto replace = [&](const std::string& part, const std::string& by) {
    text.replace(text.find(part), part.size(), by);
  };
  replace("[\"prefill\", \"shard\"], prefill-count = 2", "[\"decode\", \"shard\"], decode-count = 2");
  CHECK(errors_of(text) == std::vector<std::string>{});
  auto folded = embedded_config(std::get<cluster_config>(parse(text)));
  CHECK(folded.count(node_role::prefill) == 0);
  CHECK(folded.count(node_role::decode) == 3);
  CHECK(check_cluster_config(folded, known).empty());
  replace("coupled = \"chunked\"", "coupled = \"chunked\", conditional {}");
  CHECK(errors_of(text).size() == 1);
  replace("conditional {}", "cpp {}");
  CHECK(errors_of(text).size() == 1);
}

TEST_CASE("cluster_config: idle prefill instances may share the layers of long prompts") {
  CHECK(!std::get<cluster_config>(parse(three_nodes)).policy.cpp);
  auto given = parse(with("admission = \"none\"", "admission = \"none\", cpp { min-uncached-tokens = 9000, max-stages = 4 }"));
  REQUIRE(std::holds_alternative<cluster_config>(given));
  const auto& limits = std::get<cluster_config>(given).policy.cpp;
  REQUIRE(limits.has_value());
  CHECK(limits->uncached_tokens_min == 9000);
  CHECK(limits->stages_max == 4);
  CHECK(limits->chunk_tokens == 512);
  CHECK(error_with("admission = \"none\"", "cpp { max-stages = 9 }")
        == "perigee.policy.cpp.max-stages: found 9, allowed 1 to 8");
}

TEST_CASE("cluster_config: parameters of the routing policy are numbers that it has, within their range") {
  auto offered = known;
  offered.route_params["least-seconds"] = {{"patience", 2, 0, 10, "seconds"}};
  auto errors = [&](const std::string& params) {
    auto text = with("admission = \"none\"", "admission = \"none\", route-params { " + params + " }");
    auto loaded = parse_cluster_config(text, "test.conf", offered);
    auto out = std::vector<std::string>{};
    if (auto* found = std::get_if<std::vector<config_error>>(&loaded))
      for (const auto& error : *found)
        out.push_back(to_string(error));
    else
      CHECK(std::get<cluster_config>(loaded).policy.route_params.size() == 1);
    return out;
  };
  CHECK(errors("patience = 3").empty());
  CHECK(errors("patience = 2.5").empty());
  auto path = std::string{"perigee.policy.route-params."};
  CHECK(errors("patience = 11") == std::vector{path + "patience: found 11, allowed are 0 to 10"});
  CHECK(errors("patient = 1") == std::vector{path + "patient: the policy has no such parameter; it has: patience"});
  CHECK(errors("patience = \"3\"").size() == 1);
}
