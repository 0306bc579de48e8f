// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/dnnl_gemm.hpp"

#include "kernels/cpu/aligned_buffer.hpp"

#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <tuple>
#include <vector>

namespace perigee::kernels::cpu {

namespace {

// One piece of a product: large enough that the call does not show, small enough that its result stays in the
// second-level cache.
constexpr auto tile_rows = uint32_t{128};
constexpr auto tile_panels = uint32_t{4};

/// oneDNN asks OpenMP how many threads it may use; the answer is kept per thread.
class single_threaded {
public:
  single_threaded() : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
  }
  ~single_threaded() {
    omp_set_num_threads(before_);
  }
  single_threaded(const single_threaded&) = delete;
  single_threaded& operator=(const single_threaded&) = delete;

private:
  int before_;
};

using memory = dnnl::memory;

} // namespace

struct dnnl_gemm::state {
  struct product {
    dnnl::matmul::primitive_desc description;
    dnnl::matmul primitive;
  };
  struct per_thread {
    dnnl::stream stream;
    aligned_buffer<float> result;
    aligned_buffer<std::byte> scratch;
  };

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::map<std::tuple<uint32_t, uint32_t, uint32_t, size_t>, product> products;
  std::vector<per_thread> threads;

  /// [rows, k] × [k, n] → [rows, n] without gaps; made once for each shape.
  const product& get(uint32_t rows, uint32_t n, uint32_t k, size_t in_stride) {
    auto found = products.find({rows, n, k, in_stride});
    if (found != products.end())
      return found->second;
    auto in = memory::desc{{rows, k}, memory::data_type::bf16, memory::dims{static_cast<int64_t>(in_stride), 1}};
    auto weights = memory::desc{{k, n}, memory::data_type::bf16, memory::format_tag::BA16a64b2a};
    auto out = memory::desc{{rows, n}, memory::data_type::f32, memory::format_tag::ab};
    auto attributes = dnnl::primitive_attr{};
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    auto description = dnnl::matmul::primitive_desc{{in, weights, out}, attributes, engine};
    return products.emplace(std::tuple{rows, n, k, in_stride}, product{description, dnnl::matmul{description}})
      .first->second;
  }
};

dnnl_gemm::dnnl_gemm(thread_pool& pool) : pool_(pool), state_(std::make_unique<state>()) {
  for (auto i = 0u; i < pool.threads(); ++i)
    state_->threads.push_back({dnnl::stream{state_->engine}, {}, {}});
}

dnnl_gemm::~dnnl_gemm() = default;

bool dnnl_gemm::pays() noexcept {
  return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
}

void dnnl_gemm::apply(const packed_matrix& matrix, const uint16_t* in, size_t in_stride, uint32_t rows, float* out,
                      size_t out_stride, bool accumulate) {
  assert(matrix.type() == dtype::bf16);
  auto across = (matrix.panels() + tile_panels - 1) / tile_panels;
  auto down = (rows + tile_rows - 1) / tile_rows;
  auto rows_of = [&](uint32_t i) { return std::min(tile_rows, rounded_rows(rows - i * tile_rows)); };
  auto columns_of = [&](uint32_t j) {
    return std::min(tile_panels * panel_columns_bf16, matrix.n() - j * tile_panels * panel_columns_bf16);
  };
  {
    // Compiled before the loop, so that inside it the table is only read; at most four shapes.
    auto guard = single_threaded{};
    for (auto i : {0u, down - 1})
      for (auto j : {0u, across - 1})
        state_->get(rows_of(i), columns_of(j), matrix.k(), in_stride);
  }
  pool_.run(across * down, [&](uint32_t task, uint32_t thread) {
    auto guard = single_threaded{};
    auto i = task % down; // neighbouring tasks share their weights
    auto j = task / down;
    auto n = columns_of(j);
    const auto& product = state_->get(rows_of(i), n, matrix.k(), in_stride);
    auto& mine = state_->threads[thread];
    if (mine.result.size() == 0)
      mine.result = aligned_buffer<float>{size_t{tile_rows} * tile_panels * panel_columns_bf16};
    auto scratch_bytes = product.description.scratchpad_desc().get_size();
    if (mine.scratch.size() < scratch_bytes)
      mine.scratch = aligned_buffer<std::byte>{scratch_bytes};
    auto as_memory = [&](const memory::desc& description, const void* data) {
      return memory{description, state_->engine, const_cast<void*>(data)};
    };
    const auto& about = product.description;
    product.primitive.execute(
      mine.stream, {{DNNL_ARG_SRC, as_memory(about.src_desc(), in + size_t{i} * tile_rows * in_stride)},
                    {DNNL_ARG_WEIGHTS,
                     as_memory(about.weights_desc(), matrix.data() + size_t{j} * tile_panels * matrix.panel_bytes())},
                    {DNNL_ARG_DST, as_memory(about.dst_desc(), mine.result.data())},
                    {DNNL_ARG_SCRATCHPAD, as_memory(about.scratchpad_desc(), mine.scratch.data())}});
    auto valid = std::min(tile_rows, rows - i * tile_rows);
    for (auto r = 0u; r < valid; ++r) {
      auto* from = mine.result.data() + size_t{r} * n;
      auto* to = out + (size_t{i} * tile_rows + r) * out_stride + size_t{j} * tile_panels * panel_columns_bf16;
      if (accumulate)
        for (auto c = 0u; c < n; ++c)
          to[c] += from[c];
      else
        std::copy_n(from, n, to);
    }
  });
}

} // namespace perigee::kernels::cpu
