// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/stream_conformance.hpp"

#include "kernels/cpu/cpu_stream.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A stream on the processor with one of the small random models in f32, for which equal tokens are promised.
template <bool Reference>
class cpu_stream_world final : public stream_world {
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
  static kernels::stream_options options() {
    kernels::stream_options result;
    result.slots = 64;
    result.block_tokens = 4;
    result.threads = 2;
    result.reference_kernels = Reference;
    return result;
  }

  std::shared_ptr<const kernels::model> model_ = kernels::model::load(source_dir() / "tests/data/models/gqa-f32");
  std::unique_ptr<kernels::stream> stream_ = kernels::make_cpu_stream(model_, options(), log);
};

} // namespace

STREAM_CONFORMANCE("processor", cpu_stream_world<false>)
STREAM_CONFORMANCE("processor, reference kernels", cpu_stream_world<true>)
