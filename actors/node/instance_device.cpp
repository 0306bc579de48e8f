// SPDX-License-Identifier: Apache-2.0
#include "actors/node/instance_device.hpp"

#include "kernels/cuda/cuda_machine.hpp"
#include "kernels/cuda/cuda_stream.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

namespace perigee::actors {

namespace {

std::unique_ptr<kernels::stream> make_on_gpu(uint32_t index, const std::shared_ptr<const kernels::model>& model,
                                             const kernels::stream_options& how, uint32_t batch_max,
                                             kernels::stream_events& events, const device_source& source) {
  if (model->int8())
    throw failure(errc::unsupported, "int8 weights are computed on the processor only; load them as stored (bf16)");
  auto options = kernels::cuda_stream_options{};
  options.slots = how.slots;
  options.block_tokens = how.block_tokens;
  options.batch_max = batch_max;
  return kernels::make_cuda_stream(model, options, events, source.make(index));
}

} // namespace

device_source device_source::here() {
  return {kernels::cuda::why_no_device, kernels::cuda::make_cuda_machine};
}

std::shared_ptr<device> make_instance_device(const device_choice& choice,
                                             const std::shared_ptr<const kernels::model>& model,
                                             const kernels::stream_options& how, uint32_t batch_max,
                                             const device_source& source,
                                             const std::function<void(const std::string&)>& report) {
  auto result = std::make_shared<device>();
  result->events = std::make_unique<stream_forwarder>();
  auto on_cpu = [&] { result->stream = kernels::make_cpu_stream(model, how, *result->events); };
  auto on_gpu = [&] { result->stream = make_on_gpu(choice.index, model, how, batch_max, *result->events, source); };
  switch (choice.what) {
  case device_choice::kind::cpu: on_cpu(); break;
  case device_choice::kind::cuda:
    if (auto why = source.why_not(choice.index); !why.empty())
      throw failure(errc::unsupported,
                    fmt::format("device cuda:{} cannot be used: {}; take another or `cpu`", choice.index, why));
    on_gpu();
    break;
  case device_choice::kind::automatic:
    if (!source.why_not(choice.index).empty()) {
      on_cpu();
      break;
    }
    try {
      on_gpu();
    } catch (const failure& error) {
      report(fmt::format("computing on the processor, not on cuda:{}: {}", choice.index, error.what()));
      on_cpu();
    }
  }
  return result;
}

} // namespace perigee::actors
