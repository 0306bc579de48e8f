// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/model/safetensors.hpp"

#include <functional>
#include <string>

namespace perigee::kernels {

/// SHA-256 (hexadecimal) over name, type, shape and bytes of every tensor, in order of name. Hashing gigabytes takes
/// seconds, so the digest is remembered beside path, size and time of change of every file, in
/// `$XDG_CACHE_HOME/perigee` or
/// `~/.cache/perigee`; where that cannot be read or written it is computed each time. `tell` hears which share has been hashed.
std::string tensor_digest(const tensor_store& tensors, const std::function<void(double share)>& tell = {});

} // namespace perigee::kernels
