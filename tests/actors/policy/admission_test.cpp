// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/admission.hpp"
#include "tests/support/testing.hpp"

using namespace perigee;

namespace {

constexpr auto second = uint64_t{1'000'000'000};

/// Within its objectives: 10 s of 30, and 50 ms of 100 on a decode instance with ten sequences.
admission_query fine() {
  auto query = admission_query{};
  query.ttft_ns = 10 * second;
  query.prefill_ns = 2 * second;
  query.slo_ttft_ns = 30 * second;
  query.slo_tbt_ns = second / 10;
  query.tokens = 1000;
  query.decode_chosen = true;
  query.running_rows = 9;
  query.running_tokens = 9000;
  query.stay_ns = 20 * second;
  query.step = {0.04, 0.001, 0};
  return query;
}

} // namespace

TEST_CASE("admission: each is found by its name") {
  for (auto name : {"none", "early", "predictive", "late", "slack"})
    CHECK_EQ(std::string{find_admission(name).value().name()}, name);
  CHECK_FALSE(find_admission("never"));
}

TEST_CASE("admission: what keeps its objectives is accepted by all") {
  for (auto name : {"none", "early", "predictive", "late", "slack"})
    CHECK_FALSE(find_admission(name)->judge(fine()));
}

TEST_CASE("admit_early: the wait so far counts, and the step includes the request itself") {
  auto late = fine();
  late.waited_ns = 20 * second;
  CHECK_FALSE(admit_early{}.judge(late));
  late.waited_ns += 1;
  auto no = admit_early{}.judge(late);
  REQUIRE(no);
  CHECK_EQ(no->over_ns, 1);
  CHECK(no->detail.find("30000 ms") != std::string::npos);
  auto crowded = fine();
  crowded.running_rows = 59;
  CHECK_FALSE(admit_early{}.judge(crowded)); // 40 + 60 = 100 ms.
  crowded.running_rows = 60;
  CHECK(admit_early{}.judge(crowded));
  crowded.decode_chosen = false; // Held: there is no decode side yet.
  CHECK_FALSE(admit_early{}.judge(crowded));
}

TEST_CASE("admission: an idle decode instance takes any request, however slow it is") {
  auto query = fine();
  query.running_rows = 0;
  query.step.constant = 1;
  for (auto name : {"early", "predictive", "late", "slack"})
    CHECK_FALSE(find_admission(name)->judge(query));
}

TEST_CASE("admit_predictive: what ends meanwhile is forgiven, what is still in prefill is counted") {
  auto leaving = fine();
  leaving.running_rows = 60;
  CHECK(admit_early{}.judge(leaving));
  CHECK_FALSE(admit_predictive{}.judge(leaving)); // Half of them are gone in 10 s of 20.
  auto coming = fine();
  coming.coming_rows = 60;
  CHECK_FALSE(admit_early{}.judge(coming));
  CHECK(admit_predictive{}.judge(coming));
}

TEST_CASE("admit_late: the first token does not matter") {
  auto query = fine();
  query.waited_ns = 100 * second;
  CHECK_FALSE(admit_late{}.judge(query));
  query.running_rows = 60;
  CHECK(admit_late{}.judge(query));
}

TEST_CASE("admit_slack: under load it asks for a margin in proportion to the own prefill") {
  auto policy = admit_slack{};
  auto query = fine();
  query.ttft_ns = 29 * second;
  CHECK_FALSE(policy.judge(query));
  for (auto i = 0; i < 1000; ++i)
    policy.judge(query);
  CHECK(policy.judge(query)); // 29 + 4 * 0.97 * 2 > 30
  auto small = query;
  small.prefill_ns = second / 10;
  CHECK_FALSE(policy.judge(small));
  auto calm = fine();
  calm.ttft_ns = 0;
  for (auto i = 0; i < 1000; ++i)
    policy.judge(calm);
  CHECK_FALSE(policy.judge(query));
}
