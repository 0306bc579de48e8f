// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/metrics.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace perigee::sim {

namespace {

double ratio(double part, double whole) {
  return whole == 0 ? 0 : part / whole;
}

} // namespace

uint64_t percentile(std::span<const uint64_t> sorted, uint32_t q) {
  if (sorted.empty())
    return 0;
  auto rank = (static_cast<uint64_t>(q) * sorted.size() + 99) / 100;
  return sorted[std::max<uint64_t>(rank, 1) - 1];
}

uint64_t mean_of_longest_tenth(std::vector<uint64_t>& gaps) {
  if (gaps.empty())
    return 0;
  auto count = (gaps.size() + 9) / 10;
  auto end = gaps.begin() + static_cast<std::ptrdiff_t>(count);
  if (end != gaps.end())
    std::nth_element(gaps.begin(), end, gaps.end(), std::greater<>{});
  return std::accumulate(gaps.begin(), end, uint64_t{0}) / count;
}

spread spread_of(std::vector<uint64_t> values) {
  spread result;
  if (values.empty())
    return result;
  std::sort(values.begin(), values.end());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  result.p50 = percentile(values, 50);
  result.p90 = percentile(values, 90);
  result.p99 = percentile(values, 99);
  result.max = values.back();
  return result;
}

service_summary summarize(std::span<const request_record> requests, const service_level& promised) {
  service_summary result;
  std::vector<uint64_t> ttft;
  std::vector<uint64_t> tbt;
  uint64_t served_input = 0;
  uint64_t effective = 0;
  uint64_t effective_input = 0;
  double ttft_all = 0;
  for (const auto& it : requests) {
    ++result.requests;
    result.finished += it.finished;
    result.input_tokens += it.input_tokens;
    if (!it.finished)
      ++result.not_finished[it.error];
    auto served = it.ttft_ns > 0;
    result.rejected += !it.finished && !served;
    ttft_all += static_cast<double>(served ? it.ttft_ns : promised.ttft_ns);
    if (!served)
      continue;
    ttft.push_back(it.ttft_ns);
    served_input += it.input_tokens;
    result.hit_tokens += it.cached_tokens;
    if (it.output_tokens > 1)
      tbt.push_back(it.tbt_ns);
    if (!it.finished || it.ttft_ns > promised.ttft_ns || it.tbt_ns > promised.tbt_ns)
      continue;
    ++effective;
    effective_input += it.input_tokens;
  }
  auto all = static_cast<double>(result.requests);
  result.ttft_mean_all_ns = ratio(ttft_all, all);
  result.ttft_ns = spread_of(std::move(ttft));
  result.tbt_ns = spread_of(std::move(tbt));
  result.hit_ratio = ratio(static_cast<double>(result.hit_tokens), static_cast<double>(served_input));
  result.effective = ratio(static_cast<double>(effective), all);
  result.token_goodput = ratio(static_cast<double>(effective_input), static_cast<double>(result.input_tokens));
  return result;
}

} // namespace perigee::sim
