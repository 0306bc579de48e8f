// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"
#include "tests/edge/stream_conformance.hpp"

#include <memory>
#include <string>

namespace perigee::testing {

/// A stream with a thread of its own over one of the small random models. Whoever derives from it makes `stream_`.
class threaded_stream_world : public stream_world {
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

protected:
  explicit threaded_stream_world(const std::string& model)
    : model_(kernels::model::load(source_dir() / "tests/data/models" / model)) {}

  std::shared_ptr<const kernels::model> model_;
  std::unique_ptr<kernels::stream> stream_;
};

} // namespace perigee::testing
