// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/edge/stream_edge.hpp"
#include "actors/node/cluster_config.hpp"
#include "kernels/cpu/cpu_stream.hpp"
#include "kernels/cuda/machine.hpp"
#include "kernels/model/model.hpp"

#include <functional>
#include <memory>
#include <string>

namespace perigee::actors {

/// Where GPUs come from; tests put the emulated device here.
struct device_source {
  /// Why CUDA device `index` cannot be used, or an empty text.
  std::function<std::string(uint32_t index)> why_not;
  /// Throws `failure`.
  std::function<std::unique_ptr<kernels::cuda::machine>(uint32_t index)> make;

  /// The GPUs of this machine.
  static device_source here();
};

/// The device of one instance, by the choice of its node. `automatic` takes CUDA device 0 where it answers and can run
/// the model, and else the processor; `report` hears why. Throws `failure` where a device that was asked for by name
/// cannot be had, or where memory does not suffice.
std::shared_ptr<device> make_instance_device(const device_choice& choice,
                                             const std::shared_ptr<const kernels::model>& model,
                                             const kernels::stream_options& how, uint32_t batch_max,
                                             const device_source& source,
                                             const std::function<void(const std::string&)>& report);

} // namespace perigee::actors
