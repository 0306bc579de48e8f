// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/packed_weights.hpp"

namespace perigee::kernels::cpu {

packed_weights::packed_weights(const transformer_weights& weights) : output_({weights.output}) {
  layers_.reserve(weights.layers.size());
  for (const auto& from : weights.layers)
    layers_.push_back({packed_matrix{{from.q, from.k, from.v}}, packed_matrix{{from.o}},
                       packed_matrix{{from.gate, from.up}}, packed_matrix{{from.down}}});
}

size_t packed_weights::bytes() const noexcept {
  auto total = output_.bytes();
  for (const auto& layer : layers_)
    total += layer.qkv.bytes() + layer.o.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  return total;
}

} // namespace perigee::kernels::cpu
