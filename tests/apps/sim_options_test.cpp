// SPDX-License-Identifier: Apache-2.0
#include "actors/node/cluster_config.hpp"
#include "apps/perigee/sim_options.hpp"
#include "apps/perigee/usage.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;
using namespace perigee::cli;

namespace {

std::string refusal_of(const sim_flags& flags) {
  try {
    plan_sim(flags);
  } catch (const usage_error& error) {
    return error.what();
  }
  return {};
}

} // namespace

TEST_CASE("sim_options: a row for each way to couple prefill and decode") {
  auto flags = sim_flags{};
  auto plan = plan_sim(flags);
  REQUIRE(plan.runs.size() == 1);
  CHECK(plan.runs[0].mode == "disaggregated");
  CHECK(options_of(plan, plan.runs[0]).cluster.coupled == coupling::none);
  CHECK(options_of(plan, plan.runs[0]).cluster.decode_instances() == 8);

  flags.coupled = {"none", "prefill-first", "chunked"};
  flags.conditional = true;
  flags.conditional_tokens = 99;
  plan = plan_sim(flags);
  REQUIRE(plan.runs.size() == 3);
  CHECK(plan.runs[0].mode == "conditional");
  auto apart = options_of(plan, plan.runs[0]).cluster;
  CHECK(apart.coupled == coupling::none);
  REQUIRE(apart.at_decode.has_value());
  CHECK(apart.at_decode->uncached_tokens_max == 99);
  CHECK(plan.runs[2].mode == "chunked");
  auto joint = options_of(plan, plan.runs[2]).cluster;
  CHECK(joint.coupled == coupling::chunked);
  CHECK(!joint.at_decode.has_value());
  CHECK(joint.prefill_instances() == 0);
  CHECK(joint.decode_instances() == 16);
}

TEST_CASE("sim_options: where no policy is named it is what a cluster is served with; one that is named accepts everything") {
  auto used = [](const sim_flags& flags) {
    auto run = plan_sim(flags).runs.at(0);
    return run.policy + '+' + run.admission;
  };
  auto served = actors::policy_config{};
  CHECK(served.route + '+' + served.admission == "perigee+early");
  auto flags = sim_flags{};
  CHECK(used(flags) == "perigee+early");
  flags.admissions = {"slack"};
  CHECK(used(flags) == "perigee+slack");
  flags.policies = {"central"};
  CHECK(used(flags) == "central+slack");
  flags.admissions = {};
  CHECK(used(flags) == "central+none");
}

TEST_CASE("sim_options: instances share the layers of long prompts where there are prefill instances") {
  auto flags = sim_flags{};
  auto groups_by_default = [&](const char* policy) {
    flags.policies = {policy};
    auto plan = plan_sim(flags);
    return options_of(plan, plan.runs.at(0)).cluster.groups;
  };
  CHECK(groups_by_default("perigee") == pipelining{});
  CHECK(!groups_by_default("kvcache-centric"));
  flags.cpp = "off";
  CHECK(!groups_by_default("perigee"));
  flags.policies = {"kvcache-centric"};
  flags.cpp_limits.stages_max = 3;
  CHECK(refusal_of(flags) == "--cpp: found \"off\", allowed on, where one of --cpp-uncached, --cpp-stages and --cpp-chunk is given");
  flags.cpp = "maybe";
  CHECK(refusal_of(flags) == "--cpp: found \"maybe\", allowed auto, on, off");
  flags.cpp = "on";
  flags.cpp_limits = {9000, 4, 1024};
  flags.coupled = {"none", "chunked"};
  auto plan = plan_sim(flags);
  auto apart = options_of(plan, plan.runs.at(0)).cluster;
  REQUIRE(apart.groups.has_value());
  CHECK(apart.groups->uncached_tokens_min == 9000);
  CHECK(apart.groups->stages_max == 4);
  CHECK(apart.groups->chunk_tokens == 1024);
  CHECK(!options_of(plan, plan.runs.at(1)).cluster.groups.has_value());
  flags.cpp_limits.chunk_tokens = 1000;
  CHECK(refusal_of(flags) == "--cpp-chunk: found \"1000\", allowed multiples of a block's 512 tokens");
  flags.coupled = {"chunked"};
  CHECK(refusal_of(flags).starts_with("--cpp on: found \"--coupled chunked\""));
}

TEST_CASE("sim_options: blocks, chunks and batches may be those of a server") {
  auto flags = sim_flags{};
  CHECK(plan_sim(flags).common.cluster.block_tokens == 512);
  flags.source.block_tokens = 16;
  flags.chunk_tokens = 256;
  flags.max_batch = 12;
  auto cluster = plan_sim(flags).common.cluster;
  CHECK(cluster.block_tokens == 16);
  CHECK(cluster.chunk_tokens == 256);
  CHECK(cluster.batch_max == 12);
  flags.chunk_tokens = 15;
  CHECK(refusal_of(flags) == "--chunk-tokens: found \"15\", allowed at least 16, one block");
}

TEST_CASE("sim_options: what cannot be coupled is refused by name") {
  auto flags = sim_flags{};
  flags.coupled = {"mixed"};
  CHECK(refusal_of(flags) == "--coupled: found \"mixed\", allowed none, prefill-first, chunked");
  flags.coupled = {"chunked"};
  flags.conditional = true;
  CHECK(refusal_of(flags).starts_with("--conditional: found \"--coupled chunked\""));
}
