// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_stream.hpp"
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "tests/edge/threaded_stream_world.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// The CUDA stream and its kernels with the host in place of a device, in two pieces where a prefill is long.
class emulated_stream_world final : public threaded_stream_world {
public:
  emulated_stream_world() : threaded_stream_world("bf16-llama3") {
    kernels::cuda_stream_options how;
    how.slots = 64;
    how.rows_max = 48;
    how.batch_max = 16;
    stream_ = kernels::make_cuda_stream(model_, how, log, kernels::cuda::make_emulated_machine());
  }

  bool pump(const std::function<bool()>& done) override {
    // A device of fibers on a shared core needs more patience than others.
    auto patience = 15;
    while (patience > 0 && !wait_for_stream(done))
      --patience;
    return patience > 0;
  }
};

} // namespace

STREAM_CONFORMANCE("CUDA, emulated", emulated_stream_world)
