// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace perigee::sim {

/// Style sheet and script of a report page, without their tags.
std::string_view page_style() noexcept;
std::string_view page_script() noexcept;

} // namespace perigee::sim
