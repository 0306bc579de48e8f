// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cublas_lt.hpp"

#include "kernels/cuda/cuda_error.hpp"

#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <map>
#include <string>

namespace perigee::kernels::cuda {

namespace {

constexpr auto workspace_bytes = size_t{64} << 20;

void check(cublasStatus_t code, const char* call) {
  if (code != CUBLAS_STATUS_SUCCESS)
    throw failure(errc::io_error, fmt::format("cuBLASLt: {}: status {}", call, static_cast<int>(code)));
}

/// The functions that are used, by the names and types of the header.
struct functions {
  void* library = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;

  functions() {
    // The major version whose header this was compiled with; its interface is the same within it.
    auto name = fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR);
    library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
      throw failure(errc::not_found,
                    fmt::format("{} cannot be loaded ({}); install cuBLAS {} or add its folder to LD_LIBRARY_PATH",
                                name, dlerror(), CUBLAS_VER_MAJOR));
    get(create, "cublasLtCreate");
    get(destroy, "cublasLtDestroy");
    get(desc_create, "cublasLtMatmulDescCreate");
    get(desc_destroy, "cublasLtMatmulDescDestroy");
    get(desc_set, "cublasLtMatmulDescSetAttribute");
    get(layout_create, "cublasLtMatrixLayoutCreate");
    get(layout_destroy, "cublasLtMatrixLayoutDestroy");
    get(preference_create, "cublasLtMatmulPreferenceCreate");
    get(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    get(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    get(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    get(matmul, "cublasLtMatmul");
  }

  template <class Function>
  void get(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr)
      throw failure(errc::not_found, fmt::format("libcublasLt.so.{} has no function {}", CUBLAS_VER_MAJOR, name));
  }
};

/// Loaded once and kept: the library does not like to be unloaded.
const functions& lt() {
  static const auto all = functions{};
  return all;
}

/// One shape of product, ready to run.
struct plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weights = nullptr;
  cublasLtMatrixLayout_t in = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm = {};
};

} // namespace

struct cublas_lt::parts {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  std::map<std::array<uint32_t, 4>, plan> plans;

  const plan& plan_for(const gemm_args& args) {
    auto key = std::array{args.rows, args.n, args.k, uint32_t{args.f32_out}};
    if (auto known = plans.find(key); known != plans.end())
      return known->second;
    auto& made = plans[key];
    check(lt().desc_create(&made.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    // Everything is column-major there: out[n, rows] = weights[k, n]ᵀ × in[k, rows].
    auto transposed = CUBLAS_OP_T;
    check(lt().desc_set(made.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
          "cublasLtMatmulDescSetAttribute");
    auto out_type = args.f32_out ? CUDA_R_32F : CUDA_R_16BF;
    auto layout = [](cublasLtMatrixLayout_t& to, cudaDataType type, uint32_t rows, uint32_t columns) {
      check(lt().layout_create(&to, type, rows, columns, rows), "cublasLtMatrixLayoutCreate");
    };
    layout(made.weights, CUDA_R_16BF, args.k, args.n);
    layout(made.in, CUDA_R_16BF, args.k, args.rows);
    layout(made.out, out_type, args.n, args.rows);
    auto preference = cublasLtMatmulPreference_t{};
    check(lt().preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    auto bytes = workspace_bytes;
    check(lt().preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes),
          "cublasLtMatmulPreferenceSetAttribute");
    auto best = cublasLtMatmulHeuristicResult_t{};
    auto found = 0;
    auto code =
      lt().heuristic(handle, made.operation, made.weights, made.in, made.out, made.out, preference, 1, &best, &found);
    lt().preference_destroy(preference);
    check(code, "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0)
      throw failure(errc::unsupported,
                    fmt::format("cuBLASLt: no algorithm for [{}, {}] x [{}, {}]", args.rows, args.k, args.k, args.n));
    made.algorithm = best.algo;
    return made;
  }

  ~parts() {
    for (auto& [key, one] : plans) {
      lt().layout_destroy(one.weights);
      lt().layout_destroy(one.in);
      lt().layout_destroy(one.out);
      lt().desc_destroy(one.operation);
    }
    if (handle != nullptr)
      lt().destroy(handle);
    cudaFree(workspace);
  }
};

cublas_lt::cublas_lt() : parts_(std::make_unique<parts>()) {
  check(lt().create(&parts_->handle), "cublasLtCreate");
  check(cudaMalloc(&parts_->workspace, workspace_bytes), "cudaMalloc (workspace of cuBLASLt)");
}

cublas_lt::~cublas_lt() = default;

void cublas_lt::multiply(const gemm_args& args, cudaStream_t stream) {
  const auto& how = parts_->plan_for(args);
  auto one = 1.0f;
  auto zero = 0.0f;
  check(lt().matmul(parts_->handle, how.operation, &one, args.weights, how.weights, args.in, how.in, &zero, args.out,
                    how.out, args.out, how.out, &how.algorithm, parts_->workspace, workspace_bytes, stream),
        "cublasLtMatmul");
}

} // namespace perigee::kernels::cuda
