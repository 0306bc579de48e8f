// SPDX-License-Identifier: Apache-2.0
#include "actors/core/message_types.hpp"

#include "actors/core/interfaces.hpp"

#include <caf/init_global_meta_objects.hpp>

namespace perigee {

void init_message_types() {
  [[maybe_unused]] static const auto once = [] {
    caf::init_global_meta_objects<caf::id_block::perigee>();
    caf::core::init_global_meta_objects();
    return true;
  }();
}

} // namespace perigee
