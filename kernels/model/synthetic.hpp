// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/model.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace perigee::kernels {

/// Names of the shapes that `random_model` knows, smallest first.
std::vector<std::string> preset_names();

/// A model of a known shape with random bf16 weights, for measuring: its text means nothing, its tokenizer has one
/// token a byte. The same name gives the same weights. Throws `failure` (invalid_argument) for an unknown name.
std::shared_ptr<const model> random_model(std::string_view preset, const load_options& options = {});

} // namespace perigee::kernels
