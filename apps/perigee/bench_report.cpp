// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_report.hpp"

#include "actors/node/config_keys.hpp"
#include "apps/perigee/text_table.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <fmt/format.h>

namespace perigee::cli {

namespace {

namespace json = boost::json;

constexpr double giga = 1e9;

std::string percent(double ratio) {
  return fmt::format("{:.0f} %", 100 * ratio);
}

} // namespace

std::string render_bench(const kernels::bench_result& result) {
  const auto& limits = result.limits;
  auto out = fmt::format("engine: {} weights, {:.1f} MB read by each decode step, {} threads, {}\n", result.weight_type,
                         static_cast<double>(result.weight_bytes) / 1e6, result.threads, result.instruction_set);
  out += fmt::format(
    "limits: memory read {:.1f} GB/s (buffer of {:.0f} MB), bf16 GEMM {:.0f} GFLOP/s, f32 GEMM {:.0f} GFLOP/s\n",
    limits.read_bytes_per_second / giga, static_cast<double>(limits.read_buffer_bytes) / 1e6,
    limits.bf16_flops_per_second / giga, limits.f32_flops_per_second / giga);
  auto decode = text_table{{"DECODE BATCH", "CONTEXT", "TOKENS/S", "READ GB/S", "OF LIMIT", "GEMM", "ALLOCATIONS"}};
  for (const auto& row : result.decode)
    decode.add({std::to_string(row.batch), std::to_string(row.context), fmt::format("{:.1f}", row.tokens_per_second),
                fmt::format("{:.2f}", row.bytes_per_second / giga), percent(row.read_ratio), percent(row.gemm_ratio),
                std::to_string(row.allocations)});
  auto prefill = text_table{{"PREFILL TOKENS", "CACHED", "TOKENS/S", "GFLOP/S", "OF LIMIT"}};
  for (const auto& row : result.prefill)
    prefill.add({std::to_string(row.tokens), std::to_string(row.reused), fmt::format("{:.1f}", row.tokens_per_second),
                 fmt::format("{:.1f}", row.flops_per_second / giga), percent(row.gemm_ratio)});
  for (const auto& table : {decode, prefill})
    if (!table.empty())
      out += '\n' + table.text();
  if (result.together.prefill > 1 || result.together.step > 1)
    out += fmt::format("\nat the same time: a prefill takes {:.2f} times, a decode step {:.2f} times as long\n",
                       result.together.prefill, result.together.step);
  return out;
}

std::string render_bench(const transport::bench_result& result) {
  auto table = text_table{{"SIZE", "LIMIT GB/S", "WRITE GB/S", "OF LIMIT", "READ GB/S", "OF LIMIT"}};
  for (const auto& row : result.rows)
    table.add({actors::format_bytes(row.bytes), fmt::format("{:.2f}", row.limit), fmt::format("{:.2f}", row.write),
               percent(row.write_ratio()), fmt::format("{:.2f}", row.read), percent(row.read_ratio())});
  return fmt::format("transfer: {}\nlimit: {}\n{}", result.path, result.limit, table.text());
}

json::value bench_json(const kernels::bench_result& result) {
  auto profile = kernels::fit_profile(result);
  auto decode = json::array{};
  for (const auto& row : result.decode)
    decode.push_back({{"batch", row.batch},
                      {"context", row.context},
                      {"allocations", row.allocations},
                      {"gemm_ratio_to_limit", row.gemm_ratio},
                      {"tokens_per_second", row.tokens_per_second},
                      {"read_bytes_per_second", row.bytes_per_second},
                      {"ratio_to_limit", row.read_ratio}});
  auto prefill = json::array{};
  for (const auto& row : result.prefill)
    prefill.push_back({{"tokens", row.tokens},
                       {"reused", row.reused},
                       {"tokens_per_second", row.tokens_per_second},
                       {"flops_per_second", row.flops_per_second},
                       {"ratio_to_limit", row.gemm_ratio}});
  return {{"threads", result.threads},
          {"instruction_set", result.instruction_set},
          {"weight_type", result.weight_type},
          {"weight_bytes", result.weight_bytes},
          {"limits",
           {{"read_bytes_per_second", result.limits.read_bytes_per_second},
            {"read_buffer_bytes", result.limits.read_buffer_bytes},
            {"bf16_flops_per_second", result.limits.bf16_flops_per_second},
            {"f32_flops_per_second", result.limits.f32_flops_per_second}}},
          {"kv_token_bytes", result.kv_token_bytes},
          {"profile",
           {{"prefill_constant", profile.prefill_constant},
            {"prefill_token", profile.prefill_token},
            {"prefill_square", profile.prefill_square},
            {"prefill_reused", profile.prefill_reused},
            {"step_constant", profile.step_constant},
            {"step_row", profile.step_row},
            {"step_context_token", profile.step_context_token},
            {"kv_bytes_token", profile.kv_bytes_token}}},
          {"together", {{"prefill", result.together.prefill}, {"step", result.together.step}}},
          {"decode", decode},
          {"prefill", prefill}};
}

json::value bench_json(const std::vector<transport::bench_result>& results) {
  auto out = json::array{};
  for (const auto& result : results) {
    auto rows = json::array{};
    for (const auto& row : result.rows)
      rows.push_back({{"bytes", row.bytes},
                      {"limit_gb_per_second", row.limit},
                      {"write_gb_per_second", row.write},
                      {"write_ratio_to_limit", row.write_ratio()},
                      {"read_gb_per_second", row.read},
                      {"read_ratio_to_limit", row.read_ratio()}});
    out.push_back({{"path", result.path}, {"limit", result.limit}, {"rows", rows}});
  }
  return out;
}

} // namespace perigee::cli
