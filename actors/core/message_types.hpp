// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace perigee {

/// Makes every message type known to CAF. Once per process, before its first actor system; calling it again does
/// nothing. One place for all programs, because what it instantiates takes the compiler most of a minute.
void init_message_types();

} // namespace perigee
