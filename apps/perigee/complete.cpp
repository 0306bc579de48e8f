// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/command.hpp"
#include "kernels/engine.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <thread>

namespace perigee::cli {

namespace {

namespace json = boost::json;

struct complete_options {
  std::string model = default_model;
  std::string weights = "stored";
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  uint32_t max_tokens = 128;
  bool greedy = false;
  bool ignore_eos = false;
  bool stream = false;
  bool json = false;
  float temperature = 1.0f;
  float top_p = 1.0f;
  int32_t top_k = 0;
  std::optional<uint64_t> seed;
  uint32_t threads = 0;
};

std::string read_prompt(const complete_options& options) {
  if (options.prompt)
    return *options.prompt;
  auto file = std::ifstream{*options.prompt_file, std::ios::binary};
  auto text = std::string{std::istreambuf_iterator<char>{file}, {}};
  if (!file || std::filesystem::is_directory(*options.prompt_file))
    throw usage_error(fmt::format("--prompt-file: \"{}\" cannot be read", *options.prompt_file));
  return text;
}

kernels::completion_options completion_of(const complete_options& options) {
  auto out = kernels::completion_options{};
  out.max_tokens = options.max_tokens;
  out.ignore_eos = options.ignore_eos;
  out.sampling.temperature = options.greedy ? 0.0f : options.temperature;
  out.sampling.top_p = options.top_p;
  out.sampling.top_k = options.top_k;
  out.sampling.seed = options.seed ? *options.seed : std::random_device{}();
  return out;
}

std::shared_ptr<const kernels::model> load_model(const std::string& dir, const std::string& weights) {
  if (!std::filesystem::exists(dir))
    throw usage_error(fmt::format("--model: \"{}\" does not exist; name a directory with config.json, *.safetensors "
                                  "and tokenizer.json, or a GGUF file",
                                  dir));
  return kernels::model::load(dir, {weights == "int8"});
}

double rate(size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

std::string as_json(const kernels::completion& done, uint64_t seed) {
  auto root = json::object{};
  root["text"] = done.text;
  root["finish_reason"] = done.finish_reason;
  root["prompt_tokens"] = json::array(done.prompt_tokens.begin(), done.prompt_tokens.end());
  root["tokens"] = json::array(done.tokens.begin(), done.tokens.end());
  root["seed"] = seed;
  root["prefill_seconds"] = done.prefill_seconds;
  root["decode_seconds"] = done.decode_seconds;
  root["prefill_tokens_per_second"] = rate(done.prompt_tokens.size(), done.prefill_seconds);
  root["decode_tokens_per_second"] = rate(done.tokens.size() - (done.tokens.empty() ? 0 : 1), done.decode_seconds);
  return json::serialize(root);
}

int run(const complete_options& options) {
  auto prompt = read_prompt(options);
  auto wanted = completion_of(options);
  auto engine_options = kernels::engine_options{};
  engine_options.threads = options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  auto engine = kernels::engine{load_model(options.model, options.weights), engine_options};
  auto print_piece = [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    return true;
  };
  if (options.stream) {
    engine.complete(prompt, wanted, print_piece);
    std::fputc('\n', stdout);
    return exit_success;
  }
  auto done = engine.complete(prompt, wanted);
  auto text = (options.json ? as_json(done, wanted.sampling.seed) : done.text) + '\n';
  std::fwrite(text.data(), 1, text.size(), stdout);
  return exit_success;
}

} // namespace

void add_complete(CLI::App& app, action& chosen) {
  auto options = std::make_shared<complete_options>();
  auto* sub = app.add_subcommand("complete", "Completes one prompt with the engine alone: no cluster, no HTTP.");
  sub->add_option("--model", options->model, "directory of the model, or GGUF file")->capture_default_str();
  sub->add_option("--weights", options->weights, "as they are stored, or rounded to int8")
    ->check(CLI::IsMember({"stored", "int8"}))
    ->capture_default_str();
  auto* source = sub->add_option_group("the prompt");
  source->add_option("--prompt", options->prompt, "the text to continue");
  source->add_option("--prompt-file", options->prompt_file, "a file with the text to continue");
  source->require_option(1);
  sub->add_option("--max-tokens", options->max_tokens, "most tokens to generate")
    ->check(CLI::Range(1u, 1u << 20))
    ->capture_default_str();
  auto* greedy = sub->add_flag("--greedy", options->greedy, "always the likeliest token");
  sub->add_option("--temperature", options->temperature, "spread of the choice; 0 is greedy")
    ->check(CLI::Range(0.0f, 100.0f))
    ->excludes(greedy)
    ->capture_default_str();
  sub->add_option("--top-p", options->top_p, "choose among the likeliest tokens that have this much probability")
    ->check(CLI::Range(1e-6f, 1.0f))
    ->capture_default_str();
  sub->add_option("--top-k", options->top_k, "choose among that many tokens; 0: all")
    ->check(CLI::Range(0, 1 << 30))
    ->capture_default_str();
  sub->add_option("--seed", options->seed, "makes the choice repeatable [drawn]");
  sub->add_flag("--ignore-eos", options->ignore_eos, "go on after an end token");
  auto* as_stream = sub->add_flag("--stream", options->stream, "print the text as it comes");
  sub->add_flag("--json", options->json, "print text, tokens and times as JSON")->excludes(as_stream);
  sub->add_option("--threads", options->threads, "compute threads; 0: all cores")
    ->check(CLI::Range(0u, 1024u))
    ->capture_default_str();
  sub->footer("Standard output is exactly the completion, without the prompt, and a line break.\n\n"
              "Examples:\n"
              "  perigee complete --prompt \"Once upon a time\" --max-tokens 40\n"
              "  perigee complete --model /models/llama-3.2-1b --prompt \"The capital of France is\" --greedy --json");
  sub->callback([&chosen, options] { chosen = [options] { return run(*options); }; });
}

} // namespace perigee::cli
