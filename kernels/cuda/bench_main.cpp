// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's benchmark as a program of its own, which runs where there are only a driver and cuBLASLt.
#include "kernels/cuda/bench.hpp"
#include "kernels/cuda/cuda_machine.hpp"
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

using namespace perigee;
using namespace perigee::kernels;

namespace {

constexpr auto help =
  R"(Measures a CUDA device: copies, matrix products, attention, whole prefills and decode steps with
random weights, each beside the ceiling measured in the same run.
usage: perigee-cuda-bench [--shape 8b|1b|tiny] [--device N] [--runs N] [--json] [--emulated]
  --emulated   the host in place of a device, in the shape "tiny": shows that the program works, measures nothing
Examples:
  perigee-cuda-bench
  perigee-cuda-bench --shape 1b --json
)";

struct arguments {
  std::string shape = "8b";
  uint32_t device = 0;
  uint32_t runs = 5;
  bool json = false;
  bool emulated = false;
  bool help = false;
};

uint32_t number(std::string_view name, std::string_view text) {
  auto value = uint32_t{0};
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size())
    throw failure(errc::invalid_argument, fmt::format("{}: \"{}\" is not a number", name, text));
  return value;
}

arguments parse(int argc, char** argv) {
  auto result = arguments{};
  for (auto i = 1; i < argc; ++i) {
    auto option = std::string_view{argv[i]};
    auto value = [&] {
      if (++i == argc)
        throw failure(errc::invalid_argument, fmt::format("{}: the value is missing", option));
      return std::string_view{argv[i]};
    };
    if (option == "--shape")
      result.shape = value();
    else if (option == "--device")
      result.device = number(option, value());
    else if (option == "--runs")
      result.runs = std::max(1u, number(option, value()));
    else if (option == "--json")
      result.json = true;
    else if (option == "--emulated")
      result.emulated = true;
    else if (option == "--help")
      result.help = true;
    else
      throw failure(errc::invalid_argument, fmt::format("{}: no such option; see --help", option));
  }
  return result;
}

std::string quoted(const std::string& text) { // nothing in these texts needs an escape
  return '"' + text + '"';
}

void print(const std::string& device, const arguments& how, const std::vector<cuda::figure>& figures) {
  if (how.json) {
    fmt::print("{{\"device\": {}, \"shape\": {}, \"figures\": [", quoted(device), quoted(how.shape));
    for (auto i = size_t{0}; i < figures.size(); ++i) {
      const auto& f = figures[i];
      fmt::print("{}\n  {{\"what\": {}, \"seconds\": {:.6g}, \"rate\": {:.6g}, \"unit\": {}", i == 0 ? "" : ",",
                 quoted(f.what), f.seconds, f.rate, quoted(f.unit));
      if (f.ratio > 0)
        fmt::print(", \"ratio\": {:.4f}, \"ceiling\": {}", f.ratio, quoted(f.ceiling));
      fmt::print("}}");
    }
    fmt::print("\n]}}\n");
    return;
  }
  fmt::print("{}, shape {}, random weights, median of {}\n", device, how.shape, how.runs);
  for (const auto& f : figures) {
    auto scale = f.unit == "tokens/s" ? 1.0 : f.unit == "FLOP/s" ? 1e12 : 1e9;
    auto unit = f.unit == "tokens/s" ? "tokens/s" : f.unit == "FLOP/s" ? "TFLOP/s" : "GB/s";
    fmt::print("{:<58} {:>10.3f} ms {:>12.1f} {}", f.what, f.seconds * 1e3, f.rate / scale, unit);
    if (f.ratio > 0)
      fmt::print("  {:.0f} % of {}", 100 * f.ratio, f.ceiling);
    fmt::print("\n");
  }
}

} // namespace

int main(int argc, char** argv) {
  try {
    auto how = parse(argc, argv);
    if (how.help) {
      fmt::print("{}", help);
      return 0;
    }
    auto options = cuda::device_bench_options{};
    if (how.emulated) {
      how.shape = "tiny";
      options.prompts = {80};
      options.batches = {2};
      options.contexts = {40};
      options.gemm_size = 64;
      options.copy_bytes = 65536;
    }
    options.shape = cuda::shape_by_name(how.shape);
    options.repetitions = how.runs;
    auto device = how.emulated ? cuda::make_emulated_machine() : cuda::make_cuda_machine(how.device);
    print(device->name(), how, cuda::bench_device(*device, options));
    return 0;
  } catch (const failure& error) {
    fmt::print(stderr, "perigee-cuda-bench: {}\n", error.what());
    return error.code() == errc::invalid_argument ? 2 : 1;
  }
}
