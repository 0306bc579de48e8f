// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::actors {

/// Where a key's value goes; the alternative is the key's type. 64-bit numbers are bytes.
template <class Section>
using key_field = std::variant<std::string Section::*, bool Section::*, uint16_t Section::*, uint32_t Section::*, uint64_t Section::*,
                               std::chrono::nanoseconds Section::*, std::vector<node_role> Section::*>;

/// One key of a section. The default is the value that a default-made `Section` holds.
template <class Section>
struct config_key {
  std::string_view name;
  key_field<Section> field;
  std::string_view doc;
  bool required = false;
  uint64_t min = 0; ///< of numbers and bytes; of durations in ns
  uint64_t max = 0;
  std::string_view choices = {}; ///< texts only: what may stand here, separated by ", "
};

/// All keys of a section, in the order of the documentation.
template <class Section>
std::span<const config_key<Section>> config_keys();

template <>
std::span<const config_key<cluster_config>> config_keys<cluster_config>();
template <>
std::span<const config_key<slo_config>> config_keys<slo_config>();
template <>
std::span<const config_key<policy_config>> config_keys<policy_config>();
template <>
std::span<const config_key<conditional_config>> config_keys<conditional_config>();
template <>
std::span<const config_key<pipelining_config>> config_keys<pipelining_config>();
template <>
std::span<const config_key<log_config>> config_keys<log_config>();
template <>
std::span<const config_key<node_config>> config_keys<node_config>();

/// "256MiB"; the largest unit that divides it.
std::string format_bytes(uint64_t bytes);
/// Bytes of "256MiB", "64 KiB" or "4096"; nothing where the text is no size or does not fit 64 bits.
std::optional<uint64_t> parse_bytes(std::string_view text);
/// "100ms"; the largest unit that divides it.
std::string format_duration(std::chrono::nanoseconds duration);

/// All roles, in order.
std::span<const node_role> all_node_roles();
std::optional<node_role> parse_node_role(std::string_view name);

/// The table of all keys as Markdown, for docs/operations.md.
std::string config_keys_markdown();

} // namespace perigee::actors
