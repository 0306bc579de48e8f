// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_machine.hpp"
#include "kernels/cuda/cuda_stream.hpp"
#include "tests/edge/threaded_stream_world.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A stream on a GPU.
class cuda_stream_world final : public threaded_stream_world {
public:
  cuda_stream_world() : threaded_stream_world("bf16-llama3") {
    kernels::cuda_stream_options how;
    how.slots = 64;
    stream_ = kernels::make_cuda_stream(model_, how, log, kernels::cuda::make_cuda_machine());
  }
};

} // namespace

#undef PERIGEE_STREAM_CASE
#define PERIGEE_STREAM_CASE(label, world_type, text, function)                                                         \
  TEST_CASE("stream, " label ": " text) {                                                                              \
    if (auto why = kernels::cuda::why_no_device(); !why.empty()) {                                                     \
      skip(why);                                                                                                       \
      return;                                                                                                          \
    }                                                                                                                  \
    auto world = world_type{};                                                                                         \
    stream_cases::function(world);                                                                                     \
  }

STREAM_CONFORMANCE("CUDA", cuda_stream_world)
