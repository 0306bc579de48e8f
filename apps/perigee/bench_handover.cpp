// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/bench_handover.hpp"

#include "apps/perigee/bench_handover_run.hpp"
#include "apps/perigee/text_table.hpp"
#include "apps/perigee/usage.hpp"
#include "kernels/model/synthetic.hpp"
#include "transport/base/status.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <CLI/App.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

namespace perigee::cli {

namespace {

namespace json = boost::json;

struct handover_bench_options {
  std::string model;
  std::string preset = "110m";
  handover_options how;
  bool json = false;
};

json::object figure_json(const handover_figure& figure) {
  return {{"prefill_s", figure.prefill_s},
          {"tail_s", figure.tail_s},
          {"unsent_byte_seconds", figure.unsent_byte_s},
          {"slot_byte_seconds", figure.slot_byte_s},
          {"kept_byte_seconds", figure.kept_byte_s}};
}

json::object result_json(const handover_result& result, const handover_options& how) {
  auto rows = json::array{};
  for (const auto& row : result.rows)
    rows.push_back({{"tokens", row.tokens},
                    {"kv_bytes", row.kv_bytes},
                    {"none", figure_json(row.none)},
                    {"by_chunk", figure_json(row.by_chunk)},
                    {"by_layer", figure_json(row.by_layer)},
                    {"at_end", figure_json(row.at_end)},
                    {"by_chunk_cost", row.by_chunk_cost},
                    {"by_layer_cost", row.by_layer_cost},
                    {"at_end_cost", row.at_end_cost},
                    {"by_chunk_unsent_ratio", row.by_chunk_unsent_ratio},
                    {"by_layer_unsent_ratio", row.by_layer_unsent_ratio},
                    {"by_chunk_slot_ratio", row.by_chunk_slot_ratio},
                    {"by_layer_slot_ratio", row.by_layer_slot_ratio},
                    {"by_layer_kept_ratio", row.by_layer_kept_ratio}});
  return {{"path", result.path},
          {"threads", how.threads},
          {"chunk_tokens", how.chunk_tokens},
          {"kv_token_bytes", result.kv_token_bytes},
          {"rows", rows}};
}

std::string render(const handover_result& result, const handover_options& how) {
  auto signed_percent = [](double share) { return fmt::format("{:+.1f} %", 100 * share); };
  auto percent = [](double share) { return fmt::format("{:.1f} %", 100 * share); };
  auto ms = [](double seconds) { return fmt::format("{:.1f}", 1e3 * seconds); };
  auto times = text_table{{"PROMPT", "KV MB", "WAY", "PREFILL MS", "COST", "LAST BYTE +MS"}};
  auto held = text_table{{"PROMPT", "WAY", "UNSENT MB*S", "TO AT THE END", "SLOTS MB*S", "TO AT THE END",
                          "KEPT BESIDE MB*S", "ALL TO AT THE END"}};
  auto mb = [](double bytes) { return fmt::format("{:.2f}", bytes / 1e6); };
  for (const auto& row : result.rows) {
    auto prompt = std::to_string(row.tokens);
    auto time = [&](const char* way, const handover_figure& figure, const std::string& cost) {
      times.add({prompt, mb(static_cast<double>(row.kv_bytes)), way, ms(figure.prefill_s), cost, ms(figure.tail_s)});
    };
    time("alone", row.none, "");
    time("chunk by chunk", row.by_chunk, signed_percent(row.by_chunk_cost));
    time("layer by layer", row.by_layer, signed_percent(row.by_layer_cost));
    time("at the end", row.at_end, signed_percent(row.at_end_cost));
    auto hold = [&](const char* way, const handover_figure& figure, double unsent, double slots, double all) {
      held.add({prompt, way, mb(figure.unsent_byte_s), percent(unsent), mb(figure.slot_byte_s), percent(slots),
                mb(figure.kept_byte_s), percent(all)});
    };
    hold("chunk by chunk", row.by_chunk, row.by_chunk_unsent_ratio, row.by_chunk_slot_ratio, row.by_chunk_slot_ratio);
    hold("layer by layer", row.by_layer, row.by_layer_unsent_ratio, row.by_layer_slot_ratio, row.by_layer_kept_ratio);
    hold("at the end", row.at_end, 1, 1, 1);
  }
  return fmt::format("handover: {}; {} bytes of KV a token, chunks of {} tokens, {} threads\n{}\n{}", result.path,
                     result.kv_token_bytes, how.chunk_tokens, how.threads, times.text(), held.text());
}

int run_handover(const handover_bench_options& options) {
  auto how = options.how;
  if (how.threads == 0)
    how.threads = std::max(1u, std::thread::hardware_concurrency());
  if (!options.model.empty() && !std::filesystem::exists(options.model))
    throw usage_error(fmt::format("--model: \"{}\" does not exist; name a directory with config.json, *.safetensors "
                                  "and tokenizer.json, or a GGUF file",
                                  options.model));
  auto result = bench_handover(
    options.model.empty() ? kernels::random_model(options.preset) : kernels::model::load(options.model), how);
  if (options.json)
    std::printf("%s\n", json::serialize(result_json(result, how)).c_str());
  else
    std::printf("%s", render(result, how).c_str());
  return exit_success;
}

} // namespace

void add_bench_handover(CLI::App& bench, action& chosen) {
  auto options = std::make_shared<handover_bench_options>();
  options->how.threads = 0;
  auto* sub =
    bench.add_subcommand("handover", "Prefill that hands its KV over layer by layer, chunk by chunk or at the end, "
                                     "beside one that keeps it.");
  auto* model = sub->add_option("--model", options->model, "directory of a model, or GGUF file, instead of a shape");
  sub->add_option("--preset", options->preset, "a shape with random weights")
    ->check(CLI::IsMember(kernels::preset_names()))
    ->capture_default_str()
    ->excludes(model);
  sub
    ->add_option("--provider", options->how.provider,
                 "libfabric provider to another process; local: within this process")
    ->capture_default_str();
  sub->add_option("--host", options->how.host, "address of this machine to use")->capture_default_str();
  sub->add_option("--prompts", options->how.prompts, "lengths of prompts, in tokens")
    ->delimiter(',')
    ->check(CLI::Range(1u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--chunk-tokens", options->how.chunk_tokens, "tokens that are computed at once")
    ->check(CLI::Range(1u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--threads", options->how.threads, "compute threads; 0: all cores")
    ->check(CLI::Range(0u, 1024u))
    ->capture_default_str();
  sub->add_option("--runs", options->how.runs, "medians are taken over so many")
    ->check(CLI::Range(1u, 1000u))
    ->capture_default_str();
  sub->add_flag("--json", options->json, "the figures as JSON");
  sub->footer("Examples:\n"
              "  perigee bench handover --prompts 2048,8192\n"
              "  perigee bench handover --preset 15m --prompts 2048 --provider \"tcp;ofi_rxm\" --json");
  sub->callback([&chosen, options] { chosen = [options] { return run_handover(*options); }; });
}

} // namespace perigee::cli
