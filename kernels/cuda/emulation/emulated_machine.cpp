// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulation/emulated_machine.hpp"

#include "kernels/cuda/attention_kernels.hpp"
#include "kernels/cuda/elementwise_kernels.hpp"
#include "kernels/cuda/emulation/simt.hpp"
#include "kernels/cuda/sample_kernel.hpp"
#include "transport/base/status.hpp"

#include <chrono>
#include <cstring>
#include <map>
#include <new>
#include <vector>

namespace perigee::kernels::cuda {

namespace {

constexpr auto alignment = std::align_val_t{256};

template <class Args>
std::function<void()> bound(void (*kernel)(const Args&), const void* args) {
  return [kernel, copy = *static_cast<const Args*>(args)] { kernel(copy); };
}

std::function<void()> body_of(kernel what, const void* args) {
  switch (what) {
  case kernel::embed: return bound<embed_args>(embed, args);
  case kernel::add_norm: return bound<add_norm_args>(add_norm, args);
  case kernel::rope_store: return bound<rope_store_args>(rope_store, args);
  case kernel::swiglu: return bound<swiglu_args>(swiglu, args);
  case kernel::copy_ranges: return bound<copy_ranges_args>(copy_ranges, args);
  case kernel::attend_rows_64: return bound<attend_args>(attend_rows<64>, args);
  case kernel::attend_rows_128: return bound<attend_args>(attend_rows<128>, args);
  case kernel::attend_split_64: return bound<attend_args>(attend_split<64>, args);
  case kernel::attend_split_128: return bound<attend_args>(attend_split<128>, args);
  case kernel::combine: return bound<attend_args>(combine, args);
  case kernel::sample: return bound<sample_args>(sample, args);
  case kernel::count: break;
  }
  throw failure(errc::invalid_argument, "emulated device: no such kernel");
}

/// Each row by itself, in ascending order of k.
void multiply(const gemm_args& a) {
  for (auto row = size_t{0}; row < a.rows; ++row)
    for (auto column = size_t{0}; column < a.n; ++column) {
      auto sum = 0.0f;
      for (auto i = size_t{0}; i < a.k; ++i)
        sum += bf16_to_f32(a.in[row * a.k + i]) * bf16_to_f32(a.weights[column * a.k + i]);
      if (a.f32_out)
        static_cast<float*>(a.out)[row * a.n + column] = sum;
      else
        static_cast<uint16_t*>(a.out)[row * a.n + column] = f32_to_bf16(sum);
    }
}

class emulated_machine final : public machine {
public:
  explicit emulated_machine(std::shared_ptr<const emulated_faults> faults) : faults_(std::move(faults)) {}

  std::string name() const override {
    return "emulated";
  }
  uint64_t free_bytes() const override {
    return uint64_t{1} << 30;
  }

  void* allocate(size_t bytes) override {
    check();
    auto* memory = ::operator new(bytes, alignment);
    std::memset(memory, 0xff, bytes); // not numbers
    return memory;
  }
  void* allocate_host(size_t bytes) override {
    return std::memset(allocate(bytes), 0, bytes);
  }
  void release(void* memory) noexcept override {
    ::operator delete(memory, alignment);
  }

  void upload(queue, void* to, const void* from, size_t bytes) override {
    submit([=] { std::memcpy(to, from, bytes); });
  }
  void download(queue, void* to, const void* from, size_t bytes) override {
    submit([=] { std::memcpy(to, from, bytes); });
  }
  void launch(queue, kernel what, const launch_shape& shape, const void* args, size_t) override {
    submit([body = body_of(what, args), shape] {
      emulation::run_grid(shape.grid, shape.threads, shape.shared_bytes, body);
    });
  }
  void gemm(const gemm_args& args) override {
    submit([args] { multiply(args); });
  }

  event make_event() override {
    events_.emplace_back();
    return static_cast<event>(events_.size() - 1);
  }
  void record(queue, event what) override {
    check();
    events_.at(what) = std::chrono::steady_clock::now();
  }
  void wait(queue, event) override {
    check(); // everything before is done
  }
  bool done(event) override {
    check();
    return faults_ == nullptr || !faults_->silent;
  }
  double seconds_between(event from, event to) override {
    return std::chrono::duration<double>{events_.at(to) - events_.at(from)}.count();
  }

  graph capture(const std::function<void()>& body) override {
    check();
    capturing_ = true;
    captured_.clear();
    body();
    capturing_ = false;
    graphs_[++last_graph_] = std::move(captured_);
    return last_graph_;
  }
  void run(graph what) override {
    for (const auto& step : graphs_.at(what))
      submit(step);
  }
  void drop_graphs() noexcept override {
    graphs_.clear();
  }

private:
  void check() const {
    if (faults_ != nullptr && faults_->broken)
      throw failure(errc::io_error, "emulated device: broken");
  }
  void submit(std::function<void()> step) {
    check();
    if (capturing_)
      captured_.push_back(std::move(step));
    else
      step();
  }

  std::shared_ptr<const emulated_faults> faults_;
  std::vector<std::chrono::steady_clock::time_point> events_;
  bool capturing_ = false;
  std::vector<std::function<void()>> captured_;
  std::map<graph, std::vector<std::function<void()>>> graphs_;
  graph last_graph_ = 0;
};

} // namespace

std::unique_ptr<machine> make_emulated_machine(std::shared_ptr<const emulated_faults> faults) {
  return std::make_unique<emulated_machine>(std::move(faults));
}

} // namespace perigee::kernels::cuda
