// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/run_series.hpp"

#include <algorithm>
#include <cmath>

namespace perigee::sim {

namespace {

constexpr uint64_t grid_ns_min = 1'000'000'000;

/// Adds the parts of [begin, end) to those of the grid, in shares of a part.
void add_presence(std::vector<double>& parts, const time_grid& grid, uint64_t begin_ns, uint64_t end_ns) {
  auto scale = static_cast<double>(grid.parts) / static_cast<double>(grid.end_ns);
  auto begin = static_cast<double>(std::min(begin_ns, grid.end_ns)) * scale;
  auto end = static_cast<double>(std::min(end_ns, grid.end_ns)) * scale;
  for (auto part = static_cast<size_t>(begin); part < grid.parts && static_cast<double>(part) < end; ++part) {
    auto low = std::max(begin, static_cast<double>(part));
    auto high = std::min(end, static_cast<double>(part + 1));
    parts[part] += std::max(0.0, high - low);
  }
}

uint64_t last_end(const run_record& run) {
  auto last = uint64_t{0};
  for (const auto& request : run.requests)
    if (request.end_ns != never_ns)
      last = std::max(last, request.end_ns);
  return last;
}

/// From when to when a request was at an instance; nothing if never.
std::pair<uint64_t, uint64_t> stay(const run_request& request, instance_role role) {
  auto begin = role == instance_role::prefill ? request.placed_ns : request.joined_ns;
  auto end = role == instance_role::prefill ? request.prefill_end_ns : request.end_ns;
  return {begin, std::min(end, request.end_ns)};
}

bool is_at(const run_request& request, instance_role role, uint32_t instance) {
  return (role == instance_role::prefill ? request.prefill : request.decode) == instance;
}

} // namespace

size_t time_grid::part_of(uint64_t at_ns) const {
  auto part = static_cast<double>(at_ns) / static_cast<double>(end_ns) * static_cast<double>(parts);
  return std::min(static_cast<size_t>(part), parts - 1);
}

time_grid grid_of(std::span<const run_record> runs, size_t parts) {
  auto grid = time_grid{grid_ns_min, parts};
  for (const auto& run : runs)
    grid.end_ns = std::max(grid.end_ns, last_end(run));
  return grid;
}

curve distribution_curve(std::span<const run_request> requests, uint64_t run_request::*value, size_t points_max) {
  auto values = std::vector<uint64_t>{};
  for (const auto& request : requests)
    if (request.*value != never_ns)
      values.push_back(request.*value);
  std::ranges::sort(values);
  auto result = curve{};
  auto total = static_cast<double>(requests.size());
  auto add = [&](size_t index) {
    result.emplace_back(static_cast<double>(values[index]) / 1e9, static_cast<double>(index + 1) / total);
  };
  if (values.size() <= points_max) {
    for (size_t i = 0; i < values.size(); ++i)
      add(i);
    return result;
  }
  // Even steps of t give ranks n (1 - (1 - t)^2), which stand closer and closer towards the top.
  for (size_t i = 0; i < points_max; ++i) {
    auto rest = 1.0 - static_cast<double>(i) / static_cast<double>(points_max - 1);
    auto rank = static_cast<size_t>(std::lround((1.0 - rest * rest) * static_cast<double>(values.size() - 1)));
    if (result.empty() || static_cast<double>(rank + 1) / total > result.back().second)
      add(rank);
  }
  return result;
}

std::vector<double> mean_present(std::span<const run_request> requests, uint64_t run_request::*begin,
                                 uint64_t run_request::*end, const time_grid& grid) {
  auto parts = std::vector<double>(grid.parts);
  for (const auto& request : requests)
    if (request.*begin != never_ns)
      add_presence(parts, grid, request.*begin, std::min(request.*end, request.end_ns));
  return parts;
}

bool took_part(const run_record& run, uint32_t instance, instance_role work) {
  return std::ranges::any_of(run.requests, [&](const run_request& request) { return is_at(request, work, instance); });
}

std::vector<double> mean_present_at(const run_record& run, uint32_t instance, instance_role role, const time_grid& grid) {
  auto parts = std::vector<double>(grid.parts);
  for (const auto& request : run.requests)
    if (auto [begin, end] = stay(request, role); is_at(request, role, instance) && begin != never_ns)
      add_presence(parts, grid, begin, end);
  return parts;
}

double busy_share(const run_record& run, uint32_t instance, instance_role role) {
  auto spans = std::vector<std::pair<uint64_t, uint64_t>>{};
  for (const auto& request : run.requests) {
    auto [begin, end] = stay(request, role);
    if (role == instance_role::prefill)
      begin = request.prefill_begin_ns;
    if (is_at(request, role, instance) && begin < end && end != never_ns)
      spans.emplace_back(begin, end);
  }
  std::ranges::sort(spans);
  auto busy_ns = uint64_t{0};
  auto until = uint64_t{0};
  for (auto [begin, end] : spans) {
    begin = std::max(begin, until);
    if (end > begin) {
      busy_ns += end - begin;
      until = end;
    }
  }
  auto whole = last_end(run);
  return whole == 0 ? 0 : static_cast<double>(busy_ns) / static_cast<double>(whole);
}

curve hit_ratio_curve(std::span<const run_request> requests, const time_grid& grid) {
  auto reused = std::vector<double>(grid.parts);
  auto input = std::vector<double>(grid.parts);
  for (const auto& request : requests) {
    if (request.first_token_ns == never_ns)
      continue;
    auto part = grid.part_of(request.arrival_ns);
    reused[part] += request.reused_tokens;
    input[part] += request.input_tokens;
  }
  auto result = curve{};
  for (size_t part = 0; part < grid.parts; ++part)
    if (input[part] > 0)
      result.emplace_back(grid.middle_s(part), reused[part] / input[part]);
  return result;
}

curve reject_curve(std::span<const run_request> requests, const time_grid& grid) {
  auto rejects = std::vector<double>(grid.parts);
  for (const auto& request : requests)
    if (!request.rejected.empty())
      rejects[grid.part_of(request.arrival_ns)] += 60 / grid.part_s();
  auto result = curve{};
  for (size_t part = 0; part < grid.parts; ++part)
    result.emplace_back(grid.middle_s(part), rejects[part]);
  return result;
}

} // namespace perigee::sim
