// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_stream.hpp"
#include "tests/edge/threaded_stream_world.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A stream on the processor with one of the small random models in f32, for which equal tokens are promised.
template <bool Reference>
class cpu_stream_world final : public threaded_stream_world {
public:
  cpu_stream_world() : threaded_stream_world("gqa-f32") {
    kernels::stream_options how;
    how.slots = 64;
    how.block_tokens = 4;
    how.threads = 2;
    how.reference_kernels = Reference;
    stream_ = kernels::make_cpu_stream(model_, how, log);
  }
};

} // namespace

STREAM_CONFORMANCE("processor", cpu_stream_world<false>)
STREAM_CONFORMANCE("processor, reference kernels", cpu_stream_world<true>)
