// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenes/scene.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <numeric>

using namespace perigee;
using namespace perigee::sim;

namespace {

const std::vector<std::string> survivors{"kvcache-centric", "perigee", "central"};

uint64_t reused_tokens(const scene_result& result, size_t from, size_t to) {
  auto sum = uint64_t{0};
  for (auto i = from; i < to; ++i)
    sum += result.run.records.at(i).cached_tokens;
  return sum;
}

/// A system prompt of one block before everything, and little in common behind it.
scene_setup first_block(uint64_t seed) {
  scene_setup made;
  auto pen = traffic_pen{seed};
  auto system = pen.document(512);
  auto at = 0.0;
  for (int i = 0; i < 200; ++i) {
    at += static_cast<double>(pen.random.below(300)) / 1e3;
    pen.add(at, system, static_cast<uint32_t>(pen.random.between(2'000, 12'000)), 4);
  }
  made.requests = pen.take();
  return made;
}

std::string first_block_complaint(const scene_result& result) {
  auto busy = result.busy_s();
  auto mean = std::accumulate(busy.begin(), busy.end(), 0.0) / static_cast<double>(busy.size());
  auto slowdowns = std::vector<double>{};
  for (size_t i = 0; i < result.setup.requests.size(); ++i)
    slowdowns.push_back(result.ttft_s(i) / result.cold_s(i));
  auto computed = static_cast<double>(
    std::ranges::count_if(result.run.records, [](const request_record& it) { return it.cached_tokens < 512; }));
  return first_of(
    {at_most(std::ranges::max(busy) / mean, 1.5, "work of the busiest instance over the mean"),
     at_most(percentile_of(slowdowns, 90), 3, "time to the first token over that of an idle cluster, p90"),
     at_most(computed, 2.0 * static_cast<double>(busy.size()), "requests that computed the first block")});
}

constexpr uint32_t siblings_prefix = 16'384;
constexpr uint32_t siblings_own = 1'000;
constexpr size_t siblings_count = 40;

/// Forty questions about one document come in a second, before anybody has computed it; eight instances.
scene_setup siblings(uint64_t seed) {
  scene_setup made;
  auto pen = traffic_pen{seed};
  auto text = pen.document(siblings_prefix);
  for (size_t i = 0; i < siblings_count; ++i)
    pen.add(1 + static_cast<double>(pen.random.below(1'000)) / 1e3, text, siblings_own, 4);
  made.requests = pen.take();
  return made;
}

/// No instance computes the document twice, and nobody waits much longer than for that and for its share of the questions: who
/// lets one compute it and then fetches it is allowed half as much again.
std::string siblings_complaint(const scene_result& result) {
  auto instances = result.setup.options.cluster.prefills;
  auto once = estimator{result.setup.options.cluster.profile.costs};
  auto share = (siblings_count + instances - 1) / instances;
  auto limit_ns = once.prefill_ns(siblings_prefix + siblings_own, 0)
                  + share * once.prefill_ns(siblings_prefix + siblings_own, siblings_prefix);
  auto slowest = 0.0;
  for (size_t i = 0; i < siblings_count; ++i)
    slowest = std::max(slowest, result.ttft_s(i));
  return first_of({at_least(static_cast<double>(reused_tokens(result, 0, siblings_count)),
                            static_cast<double>((siblings_count - instances) * siblings_prefix), "tokens reused"),
                   at_most(slowest, 1.5 * static_cast<double>(limit_ns) / 1e9, "slowest first token, s")});
}

constexpr uint32_t hot_tokens = 49'152;

/// Ordinary traffic, and from the twentieth second on half a minute in which four questions a second are about one
/// document.
scene_setup hot_document(uint64_t seed) {
  scene_setup made;
  auto pen = traffic_pen{seed};
  auto document = pen.document(hot_tokens);
  for (double at = 0; at < 70; at += static_cast<double>(pen.random.below(800)) / 1e3)
    pen.add(at, {}, static_cast<uint32_t>(pen.random.between(2'000, 10'000)), 4);
  for (double at = 20; at < 50; at += static_cast<double>(pen.random.below(500)) / 1e3)
    pen.add(at, document, 200, 4);
  made.requests = pen.take();
  return made;
}

/// Others go on, no instance computes the document twice, and questions are answered at several places as soon as it is
/// there.
std::string hot_document_complaint(const scene_result& result) {
  auto others = std::vector<double>{};
  auto hot = std::vector<double>{};
  auto computed = 0.0;
  auto places = std::vector<bool>(result.setup.options.cluster.prefills);
  for (size_t i = 0; i < result.setup.requests.size(); ++i) {
    const auto& request = result.setup.requests[i];
    if (request.input_tokens != hot_tokens + 200) {
      others.push_back(result.ttft_s(i) / result.cold_s(i));
      continue;
    }
    computed += result.run.records[i].cached_tokens < hot_tokens;
    if (request.arrival_ns > 30'000'000'000)
      hot.push_back(result.ttft_s(i));
    if (auto where = result.seen.requests[i].prefill; where < places.size())
      places[where] = true;
  }
  return first_of(
    {at_most(percentile_of(hot, 95), 2, "first token of later questions, p95, s"),
     at_most(percentile_of(others, 95), 5, "slowdown of everybody else, p95"),
     at_most(computed, static_cast<double>(places.size()), "times that the document was computed"),
     at_least(static_cast<double>(std::ranges::count(places, true)), 2, "instances that answer questions")});
}

} // namespace

TEST_CASE("scene one first block shared by every request: it decides nothing about where the rest is computed, and is "
          "reused everywhere") {
  survive({first_block, first_block_complaint}, survivors);
  fail({first_block, first_block_complaint}, {"to-the-holder"});
}

TEST_CASE("scene siblings before the first has finished: no instance computes their common prefix twice, and they do "
          "not queue up behind one") {
  survive({siblings, siblings_complaint}, survivors);
  fail({siblings, siblings_complaint}, {"to-the-holder", "late-view"});
}

TEST_CASE(
  "scene sudden hot document: copies of it appear where there is time for its questions, and other traffic goes on") {
  survive({hot_document, hot_document_complaint}, survivors);
  fail({hot_document, hot_document_complaint}, {"to-the-holder", "random"});
}
