// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_machine.hpp"

#include "kernels/cuda/cublas_lt.hpp"
#include "kernels/cuda/cuda_error.hpp"
#include "kernels/cuda/kernel_table.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace perigee::kernels::cuda {

namespace {

class cuda_machine final : public machine {
public:
  explicit cuda_machine(uint32_t index) : index_(static_cast<int>(index)) {
    use();
    auto properties = cudaDeviceProp{};
    check(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
    name_ = fmt::format("{} (compute capability {}.{}, {} multiprocessors, {:.0f} GB)", properties.name,
                        properties.major, properties.minor, properties.multiProcessorCount,
                        static_cast<double>(properties.totalGlobalMem) / 1e9);
    for (auto& stream : streams_)
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    // More shared memory than the default has to be asked for.
    for (auto i = 0; i < static_cast<int>(kernel::count); ++i) {
      auto attributes = cudaFuncAttributes{};
      auto* entry = kernel_entry(static_cast<kernel>(i));
      check(cudaFuncGetAttributes(&attributes, entry), "cudaFuncGetAttributes");
      check(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(properties.sharedMemPerBlockOptin - attributes.sharedSizeBytes)),
            "cudaFuncSetAttribute");
    }
    products_ = std::make_unique<cublas_lt>();
  }

  // A broken context refuses to free; the process's end does it then.
  ~cuda_machine() override {
    cudaSetDevice(index_);
    drop_graphs();
    for (auto event : events_)
      cudaEventDestroy(event);
    for (auto stream : streams_)
      if (stream != nullptr)
        cudaStreamDestroy(stream);
    products_.reset();
    cudaGetLastError();
  }

  std::string name() const override {
    return name_;
  }
  uint64_t free_bytes() const override {
    use();
    auto free = size_t{0};
    auto total = size_t{0};
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return free;
  }

  void* allocate(size_t bytes) override {
    use();
    void* memory = nullptr;
    check(cudaMalloc(&memory, std::max<size_t>(bytes, 1)), fmt::format("cudaMalloc of {} bytes", bytes).c_str());
    return memory;
  }
  void* allocate_host(size_t bytes) override {
    use();
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, std::max<size_t>(bytes, 1), cudaHostAllocPortable | cudaHostAllocMapped),
          fmt::format("cudaHostAlloc of {} bytes", bytes).c_str());
    return std::memset(memory, 0, bytes);
  }
  void release(void* memory) noexcept override {
    cudaSetDevice(index_);
    auto attributes = cudaPointerAttributes{};
    if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess && attributes.type == cudaMemoryTypeHost)
      cudaFreeHost(memory);
    else
      cudaFree(memory);
    cudaGetLastError();
  }

  void upload(queue where, void* to, const void* from, size_t bytes) override {
    use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream(where)), "cudaMemcpyAsync to the device");
  }
  void download(queue where, void* to, const void* from, size_t bytes) override {
    use();
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream(where)), "cudaMemcpyAsync to the host");
  }

  void launch(queue where, kernel what, const launch_shape& shape, const void* args, size_t) override {
    use();
    void* pointers[] = {const_cast<void*>(args)}; // the runtime copies what it points to
    check(cudaLaunchKernel(kernel_entry(what), {shape.grid[0], shape.grid[1], shape.grid[2]}, {shape.threads, 1, 1},
                           pointers, shape.shared_bytes, stream(where)),
          fmt::format("launch of kernel {} with {}x{}x{} blocks", static_cast<int>(what), shape.grid[0], shape.grid[1],
                      shape.grid[2])
            .c_str());
  }
  void gemm(const gemm_args& args) override {
    use();
    products_->multiply(args, stream(queue::compute));
  }

  event make_event() override {
    use();
    auto made = cudaEvent_t{};
    check(cudaEventCreate(&made), "cudaEventCreate");
    events_.push_back(made);
    return static_cast<event>(events_.size() - 1);
  }
  void record(queue where, event what) override {
    use();
    check(cudaEventRecord(events_.at(what), stream(where)), "cudaEventRecord");
  }
  void wait(queue where, event what) override {
    use();
    check(cudaStreamWaitEvent(stream(where), events_.at(what), 0), "cudaStreamWaitEvent");
  }
  bool done(event what) override {
    use();
    auto code = cudaEventQuery(events_.at(what));
    if (code == cudaErrorNotReady) {
      cudaGetLastError();
      return false;
    }
    check(code, "cudaEventQuery");
    return true;
  }
  double seconds_between(event from, event to) override {
    use();
    auto milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, events_.at(from), events_.at(to)), "cudaEventElapsedTime");
    return milliseconds / 1e3;
  }

  graph capture(const std::function<void()>& body) override {
    use();
    auto where = stream(queue::compute);
    check(cudaStreamBeginCapture(where, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    auto captured = cudaGraph_t{};
    try {
      body();
    } catch (...) {
      if (cudaStreamEndCapture(where, &captured) == cudaSuccess)
        cudaGraphDestroy(captured);
      throw;
    }
    check(cudaStreamEndCapture(where, &captured), "cudaStreamEndCapture");
    auto made = cudaGraphExec_t{};
    auto code = cudaGraphInstantiate(&made, captured, 0);
    cudaGraphDestroy(captured);
    check(code, "cudaGraphInstantiate");
    graphs_.push_back(made);
    return static_cast<graph>(graphs_.size() - 1);
  }
  void run(graph what) override {
    use();
    check(cudaGraphLaunch(graphs_.at(what), stream(queue::compute)), "cudaGraphLaunch");
  }
  void drop_graphs() noexcept override {
    for (auto one : graphs_)
      cudaGraphExecDestroy(one);
    graphs_.clear();
  }

private:
  /// The device is a property of the calling thread.
  void use() const {
    check(cudaSetDevice(index_), "cudaSetDevice");
  }
  cudaStream_t stream(queue where) const {
    return streams_[static_cast<size_t>(where)];
  }

  int index_;
  std::string name_;
  cudaStream_t streams_[2] = {};
  std::unique_ptr<cublas_lt> products_;
  std::vector<cudaEvent_t> events_;
  std::vector<cudaGraphExec_t> graphs_;
};

} // namespace

std::string why_no_device(uint32_t index) {
  auto count = 0;
  auto code = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (code != cudaSuccess)
    return fmt::format("no CUDA device answers: {}", cudaGetErrorString(code));
  if (static_cast<uint32_t>(count) <= index)
    return fmt::format("CUDA device {} does not exist; this machine has {}", index, count);
  auto major = 0;
  code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, static_cast<int>(index));
  cudaGetLastError();
  if (code != cudaSuccess || major < 8)
    return fmt::format("CUDA device {} has compute capability {}; the kernels need 8.0 or higher", index, major);
  return {};
}

std::unique_ptr<machine> make_cuda_machine(uint32_t index) {
  if (auto why = why_no_device(index); !why.empty())
    throw failure(errc::unsupported, why);
  return std::make_unique<cuda_machine>(index);
}

} // namespace perigee::kernels::cuda
