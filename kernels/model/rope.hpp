// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/json_reader.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace perigee::kernels {

/// How rotary frequencies are stretched. Only forms that depend on the position alone: a cached K must stay right
/// whatever comes after it.
struct rope_scaling {
  enum class form : uint8_t {
    none,
    linear,
    llama3,
    dynamic, ///< NTK-aware, with the base of a sequence as long as the configured context, whatever the length is
    yarn
  };
  form kind = form::none;
  double factor = 1;
  double low_freq_factor = 1;       ///< llama3
  double high_freq_factor = 4;      ///< llama3
  uint32_t original_context = 8192; ///< llama3, dynamic, yarn
  double beta_fast = 32;            ///< yarn: pairs that turn more often over the original context stay as they are
  double beta_slow = 1;             ///< yarn: pairs that turn less often are stretched by the factor
  bool truncate = true;             ///< yarn: the band between them is widened to whole pairs
  double attention_factor = 1;      ///< yarn: scales cosines and sines, so q and k both
  std::vector<double> pair_factors; ///< a file's own divisor per pair, applied after all else; empty: none
};

/// Rotary embedding of one model.
struct rope_config {
  double theta = 10000;
  rope_scaling scaling;
};

/// Reads `rope_theta`, `rope_scaling` and `rope_parameters` of a config.json whose context is `context`. Throws
/// `failure`: invalid_argument (the key and value are named), unsupported for a form that is unknown or depends on the
/// running length.
rope_config read_rope(const json_reader& reader, uint32_t context);

/// Angle per position of each rotated pair: `head_dim` / 2 values. Sources: Su et al. 2021 (plain), the Llama 3.1 model
/// card (llama3), Peng et al. 2023 (dynamic NTK, YaRN).
std::vector<double> inverse_frequencies(const rope_config& rope, uint32_t head_dim, uint32_t context);

/// Everything that affects rotated keys, as text for the fingerprint.
std::string rope_fields(const rope_config& rope, uint32_t context);

} // namespace perigee::kernels
