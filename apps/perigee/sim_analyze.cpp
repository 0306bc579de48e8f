// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_analyze.hpp"

#include "actors/sim/trace/analysis.hpp"
#include "actors/sim/trace/draw.hpp"
#include "apps/perigee/text_table.hpp"
#include "apps/perigee/usage.hpp"
#include "transport/base/status.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

namespace perigee::cli {

namespace {

namespace json = boost::json;

using take_request = std::function<void(const sim::trace_request&)>;

void require_public_blocks(const request_source& source, const char* where) {
  if (source.block_tokens != sim::trace_block_tokens)
    throw usage_error(fmt::format("--block-tokens: found {}, allowed is {} with {}", source.block_tokens,
                                  sim::trace_block_tokens, where));
}

void read_requests(std::istream& in, const std::string& name, const request_source& source, const take_request& take) {
  auto reader = sim::trace_reader{in, name, source.block_tokens};
  auto request = sim::trace_request{};
  auto taken = uint64_t{0};
  for (; (source.requests == 0 || taken < source.requests) && reader.next(request); ++taken)
    take(request);
  if (taken == 0)
    throw usage_error(fmt::format("--trace: found no request in {}, allowed is at least one line", name));
}

void read_file(const request_source& source, const take_request& take) {
  if (source.trace == "-")
    return read_requests(std::cin, "standard input", source, take);
  auto in = std::ifstream{source.trace, std::ios::binary};
  if (!in)
    throw usage_error(fmt::format("--trace: {} cannot be opened ({}); name a JSONL trace, or - for standard input",
                                  source.trace, std::strerror(errno)));
  read_requests(in, source.trace, source, take);
}

void draw_requests(const request_source& source, const take_request& take) {
  require_public_blocks(source, "--draw");
  auto spec = sim::parse_draw(source.draw);
  auto gap_ns = source.rate > 0 ? static_cast<uint64_t>(1e9 / source.rate) : sim::default_gap_ns(spec.kind);
  auto generator = sim::trace_generator{spec, gap_ns};
  auto left = source.requests == 0 ? drawn_requests : source.requests;
  for (; left > 0; --left)
    take(generator.next());
}

std::string percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.2f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string render(const sim::trace_analysis& result) {
  auto out = fmt::format("{} requests in {:.3f} s, {} blocks of {} tokens, {} different ones\n\n", result.requests,
                         static_cast<double>(result.span_ns) / 1e9, result.blocks, sim::trace_block_tokens,
                         result.unique_blocks);
  auto lengths = text_table{{"TOKENS", "SUM", "MEAN", "P50", "P90", "P99", "MAX"}};
  auto add = [&](const char* name, const sim::distribution& tokens) {
    lengths.add({name, std::to_string(tokens.sum), fmt::format("{:.2f}", tokens.mean), std::to_string(tokens.p50),
                 std::to_string(tokens.p90), std::to_string(tokens.p99), std::to_string(tokens.max)});
  };
  add("input", result.input_tokens);
  add("output", result.output_tokens);
  auto caches =
    text_table{{"CACHE TOKENS", "EVICTION", "HIT BLOCKS", "SHARE", "HIT TOKENS", "SHARE", "BEST POSSIBLE BLOCKS", "SHARE"}};
  auto row = [&](std::string name, const char* rule, uint64_t blocks, uint64_t tokens, uint64_t bound) {
    caches.add({std::move(name), rule, std::to_string(blocks), percent(blocks, result.blocks), std::to_string(tokens),
                percent(tokens, result.input_tokens.sum), std::to_string(bound), percent(bound, result.blocks)});
  };
  for (size_t i = 0; i < result.lru.size(); ++i) {
    auto bound = result.lru[i].bound_blocks.value_or(0);
    auto name = std::to_string(result.lru[i].capacity_tokens);
    row(name, to_string(eviction::lru), result.lru[i].hit_blocks, result.lru[i].hit_tokens, bound);
    for (const auto& other : result.others)
      row(name, to_string(other.rule), other.caches[i].hit_blocks, other.caches[i].hit_tokens, bound);
  }
  row("unlimited", "-", result.ideal_hit_blocks, result.ideal_hit_tokens, result.ideal_hit_blocks);
  return out + lengths.text() + '\n' + caches.text();
}

json::object analysis_json(const sim::trace_analysis& result) {
  auto list = [](const std::vector<sim::cache_analysis>& caches) {
    auto out = json::array{};
    for (const auto& cache : caches)
      out.push_back({{"capacity_tokens", cache.capacity_tokens},
                     {"hit_blocks", cache.hit_blocks},
                     {"hit_tokens", cache.hit_tokens}});
    return out;
  };
  auto best = json::array{};
  for (const auto& cache : result.lru)
    best.push_back({{"capacity_tokens", cache.capacity_tokens}, {"hit_blocks", cache.bound_blocks.value_or(0)}});
  auto out = json::object{
          {"requests", result.requests},
          {"span_s", static_cast<double>(result.span_ns) / 1e9},
          {"input_tokens", result.input_tokens.sum},
          {"output_tokens", result.output_tokens.sum},
          {"blocks", result.blocks},
          {"unique_blocks", result.unique_blocks},
          {"ideal_hit_blocks", result.ideal_hit_blocks},
          {"ideal_hit_tokens", result.ideal_hit_tokens},
          {"lru", list(result.lru)}};
  if (!result.others.empty())
    out["best_possible"] = std::move(best);
  for (const auto& other : result.others)
    out[to_string(other.rule)] = list(other.caches);
  return out;
}

} // namespace

void for_each_request(const request_source& source, const take_request& take) {
  if (source.trace.empty() == source.draw.empty())
    throw usage_error(
      fmt::format("--trace, --draw: found {}, allowed is one of them: --trace FILE (- for standard input) "
                  "or --draw KIND:SEED",
                  source.trace.empty() ? "neither" : "both"));
  try {
    if (!source.trace.empty())
      read_file(source, take);
    else
      draw_requests(source, take);
  } catch (const failure& error) {
    if (error.code() != errc::invalid_argument)
      throw;
    throw usage_error(fmt::format("{}: {}", source.trace.empty() ? "--draw" : "--trace", error.what()));
  }
}

std::vector<sim::trace_request> load_requests(const request_source& source) {
  auto result = std::vector<sim::trace_request>{};
  for_each_request(source, [&](const sim::trace_request& request) { result.push_back(request); });
  return result;
}

int run_sim_analyze(const request_source& source, const std::vector<uint64_t>& cache_tokens,
                    const std::vector<eviction>& evictions, bool json) {
  require_public_blocks(source, "--analyze");
  auto others = evictions;
  std::erase(others, eviction::lru);
  auto bound = !json || !others.empty();
  auto analyzer = sim::trace_analyzer{{cache_tokens, bound, std::move(others)}};
  for_each_request(source, [&](const sim::trace_request& request) { analyzer.add(request); });
  auto result = analyzer.result();
  std::printf("%s", (json ? boost::json::serialize(analysis_json(result)) + '\n' : render(result)).c_str());
  return exit_success;
}

int run_write_trace(const request_source& source, const std::string& path) {
  auto file = std::ofstream{};
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file)
      throw failure(errc::io_error,
                    fmt::format("--write-trace: {} cannot be written ({})", path, std::strerror(errno)));
  }
  auto& out = path == "-" ? std::cout : file;
  for_each_request(source, [&](const sim::trace_request& request) { sim::write_trace_line(out, request); });
  out.flush();
  if (!out)
    throw failure(errc::io_error,
                  fmt::format("--write-trace: {} could not be written to its end; is the disk full?", path));
  return exit_success;
}

} // namespace perigee::cli
