// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace perigee::kernels::cuda {

/// Two queues run side by side: what computes, and what moves KV between the device and the host.
enum class queue : uint8_t { compute, copy };

struct launch_shape {
  uint32_t grid[3] = {1, 1, 1};
  uint32_t threads = 32;
  uint32_t shared_bytes = 0;
};

/// out[rows, n] = in[rows, k] × weights[n, k]ᵀ: bf16 in, f32 sums, f32 or bf16 out.
struct gemm_args {
  const uint16_t* weights = nullptr;
  const uint16_t* in = nullptr;
  void* out = nullptr;
  uint32_t rows = 0;
  uint32_t n = 0;
  uint32_t k = 0; ///< a multiple of 8
  bool f32_out = false;
};

/// A device as the backend uses it: an NVIDIA GPU (cuda_machine.hpp) or the host in its place
/// (emulation/emulated_machine.hpp). Used by one thread at a time. Work is asynchronous and runs in order within a
/// queue; every function throws `failure` (io_error) where the device said no, also for earlier work, and from then on
/// it may say so for ever.
class machine {
public:
  using event = uint32_t;
  using graph = uint32_t;

  virtual ~machine() = default;

  virtual std::string name() const = 0;
  virtual uint64_t free_bytes() const = 0;

  /// Memory of the device, aligned to 256 bytes. Throws `failure` (exhausted).
  virtual void* allocate(size_t bytes) = 0;
  /// Pinned memory of the host that the device can reach; zeroed.
  virtual void* allocate_host(size_t bytes) = 0;
  /// Either kind; nothing may use it any more.
  virtual void release(void* memory) noexcept = 0;

  /// Between the device and host memory, which stays as it is until the copy is done. From memory that is not pinned an
  /// upload has been read when the call returns.
  virtual void upload(queue where, void* to, const void* from, size_t bytes) = 0;
  virtual void download(queue where, void* to, const void* from, size_t bytes) = 0;
  virtual void launch(queue where, kernel what, const launch_shape& shape, const void* args, size_t args_bytes) = 0;
  virtual void gemm(const gemm_args& args) = 0; ///< on the compute queue

  virtual event make_event() = 0;
  virtual void record(queue where, event what) = 0;
  /// The queue goes on when what was recorded last is done.
  virtual void wait(queue where, event what) = 0;
  virtual bool done(event what) = 0;
  /// Device time between two events that are done.
  virtual double seconds_between(event from, event to) = 0;

  /// What `body` submits to the compute queue becomes one graph instead of being run.
  virtual graph capture(const std::function<void()>& body) = 0;
  virtual void run(graph what) = 0; ///< on the compute queue
  virtual void drop_graphs() noexcept = 0;
};

/// Memory of a machine, as numbers of type T. Movable.
template <class T>
class device_array {
public:
  device_array() = default;
  device_array(machine& on, size_t count, bool host = false)
    : machine_(&on),
      data_(static_cast<T*>(host ? on.allocate_host(count * sizeof(T)) : on.allocate(count * sizeof(T)))),
      size_(count) {}
  device_array(device_array&& other) noexcept {
    *this = std::move(other);
  }
  device_array& operator=(device_array&& other) noexcept {
    std::swap(machine_, other.machine_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~device_array() {
    if (data_ != nullptr)
      machine_->release(data_);
  }

  T* data() const noexcept {
    return data_;
  }
  size_t size() const noexcept {
    return size_;
  }

private:
  machine* machine_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0;
};

} // namespace perigee::kernels::cuda
