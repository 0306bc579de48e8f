// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_stream.hpp"
#include "kernels/cuda/emulation/emulated_machine.hpp"
#include "tests/edge/stream_conformance.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// The CUDA stream and its kernels with the host in place of a device, in two pieces where a prefill is long.
class emulated_stream_world final : public stream_world {
public:
  kernels::stream& stream() override {
    return *stream_;
  }
  token_id vocabulary() const override {
    return static_cast<token_id>(model_->config().vocab);
  }
  bool pump(const std::function<bool()>& done) override {
    // A device of fibers on a shared core needs more patience than others.
    auto patience = 15;
    while (patience > 0 && !wait_for_stream(done))
      --patience;
    return patience > 0;
  }

private:
  static kernels::cuda_stream_options options() {
    kernels::cuda_stream_options result;
    result.slots = 64;
    result.rows_max = 48;
    result.batch_max = 16;
    return result;
  }

  std::shared_ptr<const kernels::model> model_ = kernels::model::load(source_dir() / "tests/data/models/bf16-llama3");
  std::unique_ptr<kernels::stream> stream_ =
    kernels::make_cuda_stream(model_, options(), log, kernels::cuda::make_emulated_machine());
};

} // namespace

STREAM_CONFORMANCE("CUDA, emulated", emulated_stream_world)
