// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_machine.hpp"
#include "kernels/cuda/cuda_stream.hpp"
#include "tests/edge/stream_conformance.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A stream on a GPU.
class cuda_stream_world final : public stream_world {
public:
  kernels::stream& stream() override {
    return *stream_;
  }
  token_id vocabulary() const override {
    return static_cast<token_id>(model_->config().vocab);
  }
  bool pump(const std::function<bool()>& done) override {
    return wait_for_stream(done);
  }

private:
  static kernels::cuda_stream_options options() {
    kernels::cuda_stream_options result;
    result.slots = 64;
    return result;
  }

  std::shared_ptr<const kernels::model> model_ = kernels::model::load(source_dir() / "tests/data/models/bf16-llama3");
  std::unique_ptr<kernels::stream> stream_ =
    kernels::make_cuda_stream(model_, options(), log, kernels::cuda::make_cuda_machine());
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
