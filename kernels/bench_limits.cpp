// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench.hpp"

#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/thread_pool.hpp"

#include <dnnl.hpp>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <vector>

namespace perigee::kernels {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto repetitions = 5;

double seconds_since(clock::time_point begin) {
  return std::chrono::duration<double>{clock::now() - begin}.count();
}

uint64_t read_buffer_bytes() {
  auto cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::max<uint64_t>(256 << 20, 4 * static_cast<uint64_t>(std::max(cache, 0l)));
}

double median(std::vector<double>& values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Reads everything once; the sum keeps the compiler from leaving it out.
uint64_t read_all(const uint64_t* words, size_t count) {
  auto sums = std::array<uint64_t, 16>{};
  for (auto i = size_t{0}; i + sums.size() <= count; i += sums.size())
    for (auto j = size_t{0}; j < sums.size(); ++j)
      sums[j] += words[i + j];
  auto total = uint64_t{0};
  for (auto sum : sums)
    total += sum;
  return total;
}

double read_rate(uint32_t threads, uint64_t bytes) {
  auto pool = cpu::thread_pool{threads};
  auto buffer = cpu::aligned_buffer<uint64_t>{bytes / 8};
  std::fill(buffer.data(), buffer.data() + buffer.size(), 1);
  auto rates = std::vector<double>{};
  auto checked = std::atomic<uint64_t>{0};
  for (auto i = 0; i < repetitions; ++i) {
    // As many pieces as the engine cuts its matrices into.
    auto pieces = threads * 4;
    auto begin = clock::now();
    pool.run(pieces, [&](uint32_t piece, uint32_t) {
      auto first = buffer.size() * piece / pieces;
      checked += read_all(buffer.data() + first, buffer.size() * (piece + 1) / pieces - first);
    });
    rates.push_back(static_cast<double>(bytes) / seconds_since(begin));
  }
  return checked == 0 ? 0 : median(rates); // never 0: the buffer holds ones
}

/// The best rate of oneDNN over some shapes, on its own threads, in the layout it likes best.
double product_rate(uint32_t threads, dnnl::memory::data_type type) {
  using memory = dnnl::memory;
  auto before = omp_get_max_threads();
  omp_set_num_threads(static_cast<int>(threads));
  auto engine = dnnl::engine{dnnl::engine::kind::cpu, 0};
  auto stream = dnnl::stream{engine};
  auto best = 0.0;
  for (auto [m, k, n] : {std::array<int64_t, 3>{512, 1024, 4096}, {1024, 1024, 1024}, {2048, 2048, 2048}}) {
    auto description = dnnl::matmul::primitive_desc{
      {memory::desc{{m, k}, type, memory::format_tag::any}, memory::desc{{k, n}, type, memory::format_tag::any},
       memory::desc{{m, n}, memory::data_type::f32, memory::format_tag::ab}},
      engine};
    auto in = memory{description.src_desc(), engine};
    auto weights = memory{description.weights_desc(), engine};
    auto out = memory{description.dst_desc(), engine};
    for (auto& operand : {in, weights})
      std::fill_n(static_cast<std::byte*>(operand.get_data_handle()), operand.get_desc().get_size(), std::byte{0});
    auto product = dnnl::matmul{description};
    auto rates = std::vector<double>{};
    for (auto i = 0; i <= repetitions; ++i) {
      auto begin = clock::now();
      product.execute(stream, {{DNNL_ARG_SRC, in}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, out}});
      stream.wait();
      if (i > 0) // the first touches the memory
        rates.push_back(2.0 * static_cast<double>(m * k * n) / seconds_since(begin));
    }
    best = std::max(best, median(rates));
  }
  omp_set_num_threads(before);
  return best;
}

} // namespace

machine_limits measure_limits(uint32_t threads) {
  auto limits = machine_limits{};
  limits.read_buffer_bytes = read_buffer_bytes();
  limits.read_bytes_per_second = read_rate(threads, limits.read_buffer_bytes);
  limits.f32_flops_per_second = product_rate(threads, dnnl::memory::data_type::f32);
  if (cpu::ops_for(cpu::best_instruction_set()).gemm_bf16_dot != nullptr)
    limits.bf16_flops_per_second = product_rate(threads, dnnl::memory::data_type::bf16);
  return limits;
}

} // namespace perigee::kernels
