// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/allocation_counter.hpp"
#include "apps/perigee/bench_handover.hpp"
#include "apps/perigee/bench_report.hpp"
#include "apps/perigee/bench_route.hpp"
#include "apps/perigee/bench_sim.hpp"
#include "apps/perigee/command.hpp"
#include "kernels/model/synthetic.hpp"

#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace perigee::cli {

namespace {

struct engine_bench_options {
  std::string model = default_model;
  std::string preset;
  std::string weights = "stored";
  kernels::bench_options how;
  bool json = false;
};

struct transfer_bench_options {
  transport::bench_options how;
  std::vector<std::string> sizes = {"64KiB", "1MiB", "4MiB"};
  std::string pool = "128MiB";
  bool json = false;
};

void print(const boost::json::value& value) {
  std::printf("%s\n", boost::json::serialize(value).c_str());
}

int run_engine(engine_bench_options options) {
  if (options.preset.empty() && !std::filesystem::exists(options.model))
    throw usage_error(fmt::format("--model: \"{}\" does not exist; name a directory with config.json, *.safetensors "
                                  "and tokenizer.json, or a GGUF file",
                                  options.model));
  auto precision = kernels::load_options{options.weights == "int8"};
  options.how.allocations = allocations_of_this_thread;
  if (options.how.threads == 0)
    options.how.threads = std::max(1u, std::thread::hardware_concurrency());
  auto result = kernels::bench_engine(options.preset.empty() ? kernels::model::load(options.model, precision)
                                                             : kernels::random_model(options.preset, precision),
                                      options.how);
  if (options.json)
    print(bench_json(result));
  else
    std::printf("%s", render_bench(result).c_str());
  return exit_success;
}

int run_transfer(transfer_bench_options options) {
  options.how.sizes.clear();
  for (const auto& size : options.sizes)
    options.how.sizes.push_back(parse_size(size, "--sizes"));
  options.how.pool_bytes = parse_size(options.pool, "--pool");
  if (*std::ranges::max_element(options.how.sizes) > options.how.pool_bytes)
    throw usage_error(
      fmt::format("--sizes: found {}, allowed is at most the pool ({})", options.sizes.back(), options.pool));
  // The provider first: it forks, and the local fabric starts threads.
  auto results = std::vector{transport::bench_provider(options.how), transport::bench_local(options.how)};
  if (options.json)
    print(bench_json(results));
  else
    for (const auto& result : results)
      std::printf("%s\n", render_bench(result).c_str());
  return exit_success;
}

void add_engine(CLI::App& bench, action& chosen) {
  auto options = std::make_shared<engine_bench_options>();
  options->how.threads = 0;
  auto* sub =
    bench.add_subcommand("engine", "Prefill and decode, beside the memory's read bandwidth and the best GEMM rate.");
  auto* model =
    sub->add_option("--model", options->model, "directory of the model, or GGUF file")->capture_default_str();
  sub->add_option("--preset", options->preset, "a shape with random weights instead of a model")
    ->check(CLI::IsMember(kernels::preset_names()))
    ->excludes(model);
  sub->add_option("--weights", options->weights, "as they are stored, or rounded to int8")
    ->check(CLI::IsMember({"stored", "int8"}))
    ->capture_default_str();
  sub->add_option("--threads", options->how.threads, "compute threads; 0: all cores")
    ->check(CLI::Range(0u, 1024u))
    ->capture_default_str();
  sub->add_option("--runs", options->how.repetitions, "medians are taken over so many")
    ->check(CLI::Range(1u, 1000u))
    ->capture_default_str();
  sub->add_option("--batches", options->how.batches, "sequences decoded at once")
    ->delimiter(',')
    ->check(CLI::Range(1u, 1024u));
  sub->add_option("--contexts", options->how.contexts, "tokens in each sequence when decoding begins")
    ->delimiter(',')
    ->check(CLI::Range(1u, 1u << 20));
  sub
    ->add_option("--suffix", options->how.suffixes,
                 "prompts are measured again with all but so many tokens cached; 0: not")
    ->delimiter(',')
    ->check(CLI::Range(0u, 1u << 20))
    ->capture_default_str();
  sub->add_option("--prompts", options->how.prompts, "lengths of prompts, in tokens")
    ->delimiter(',')
    ->check(CLI::Range(1u, 1u << 20));
  sub->add_flag("--batch-invariant", options->how.batch_invariant, "kernels whose result does not depend on the batch");
  sub->add_flag("--together", options->how.together,
                "also how much longer each takes while another stream does the other on as many threads");
  sub->add_flag("--json", options->json, "the figures as JSON, with a cost profile fitted to them");
  sub->footer("Examples:\n"
              "  perigee bench engine --model /models/llama-3.2-1b --batches 1,8 --prompts 512\n"
              "  perigee bench engine --preset 1b --weights int8 --contexts 128,2048 --json");
  sub->callback([&chosen, options] { chosen = [options] { return run_engine(*options); }; });
}

void add_transfer(CLI::App& bench, action& chosen) {
  auto options = std::make_shared<transfer_bench_options>();
  auto* sub =
    bench.add_subcommand("transfer", "KV transfers: between two processes beside plain TCP, within one beside memcpy.");
  sub->add_option("--provider", options->how.provider, "libfabric provider")->capture_default_str();
  sub->add_option("--host", options->how.host, "address of this machine to use")->capture_default_str();
  sub->add_option("--sizes", options->sizes, "of one transfer, such as 64KiB,1MiB")
    ->delimiter(',')
    ->capture_default_str();
  sub->add_option("--pool", options->pool, "memory on either side")->capture_default_str();
  sub->add_option("--runs", options->how.runs, "medians are taken over so many")
    ->check(CLI::Range(1u, 1000u))
    ->capture_default_str();
  sub->add_flag("--json", options->json, "the figures as JSON");
  sub->footer("Example:\n  perigee bench transfer --sizes 64KiB,4MiB");
  sub->callback([&chosen, options] { chosen = [options] { return run_transfer(*options); }; });
}

} // namespace

void add_bench(CLI::App& app, action& chosen) {
  auto* sub = app.add_subcommand("bench", "Measures, and prints the limit measured beside it and the ratio.");
  sub->require_subcommand(1);
  sub->footer("Examples:\n"
              "  perigee bench engine\n"
              "  perigee bench transfer --json");
  add_engine(*sub, chosen);
  add_transfer(*sub, chosen);
  add_bench_handover(*sub, chosen);
  add_bench_route(*sub, chosen);
  add_bench_sim(*sub, chosen);
}

} // namespace perigee::cli
