// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/stream_conformance.hpp"

#include "actors/sim/sim_stream.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

class sim_stream_world final : public stream_world {
public:
  kernels::stream& stream() override {
    return stream_;
  }
  token_id vocabulary() const override {
    return sim::toy_model{}.vocabulary;
  }
  bool pump(const std::function<bool()>& done) override {
    return home_.run_until(done, std::chrono::minutes{1});
  }

private:
  static sim::stream_options halves() {
    auto options = sim::stream_options{};
    options.model.layers = 4; // Each half has room for activations in the place of the other.
    return options;
  }

  sim::world home_{{}};
  sim::sim_stream stream_{home_, halves(), log};
};

} // namespace

STREAM_CONFORMANCE("simulated", sim_stream_world)
