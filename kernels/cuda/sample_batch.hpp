// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/launch.hpp"
#include "kernels/stream.hpp"

#include <span>
#include <vector>

namespace perigee::kernels::cuda {

/// Sample requests as the device wants them.
class sample_batch {
public:
  /// Samples row `logits_row` of the logits by a request that passed `check_sample`.
  void add(uint32_t logits_row, const sample_request& request, uint32_t vocab);
  /// A place where nothing is sampled.
  void add_nothing();
  void clear();

  const std::vector<sample_row>& rows() const noexcept {
    return rows_;
  }
  const std::vector<logit_edit>& edits() const noexcept {
    return edits_;
  }

private:
  std::vector<sample_row> rows_;
  std::vector<logit_edit> edits_;
};

} // namespace perigee::kernels::cuda
