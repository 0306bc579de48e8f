// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace perigee {

/// Whether decode instances compute the prompts of their requests themselves, and how. A cluster that couples both has
/// no prefill instances.
enum class coupling : uint8_t {
  none,          ///< prefill instances compute prompts
  prefill_first, ///< sequences stall while there is a prompt to compute
  chunked,       ///< an iteration is a chunk of a prompt and a step of all sequences
};

inline constexpr std::array coupling_names{std::string_view{"none"}, std::string_view{"prefill-first"},
                                           std::string_view{"chunked"}};

constexpr std::string_view to_string(coupling how) noexcept {
  return coupling_names[static_cast<size_t>(how)];
}

/// Nothing for an unknown name.
constexpr std::optional<coupling> find_coupling(std::string_view name) noexcept {
  for (size_t i = 0; i < coupling_names.size(); ++i)
    if (coupling_names[i] == name)
      return static_cast<coupling>(i);
  return std::nullopt;
}

/// Conditional disaggregation: what is left of a prompt beside its cached prefix is computed by the decode instance
/// itself, in chunks between its steps, where it is short. Pure.
struct conditional {
  uint32_t uncached_tokens_max = 2048; ///< fewer than that
  double uncached_share_max = 0.7;     ///< and less than this share of the prompt

  bool applies(uint64_t prompt_tokens, uint64_t uncached_tokens) const noexcept {
    return uncached_tokens < uncached_tokens_max
           && static_cast<double>(uncached_tokens) < uncached_share_max * static_cast<double>(prompt_tokens);
  }
};

} // namespace perigee
