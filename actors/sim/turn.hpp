// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/fwd.hpp>
#include <caf/resumable.hpp>

#include <cstddef>

namespace perigee::sim {

/// One turn of an actor: it takes up to `messages_max` messages, in the order in which CAF 0.18's own `resume` hands
/// them out and with the same effects, in half of its instructions: without streams, which no actor here has, without
/// metrics of the mailbox, and without asking of each message whether it is one of CAF's own. What is no actor resumes
/// by itself.
caf::resumable::resume_result take_turn(caf::resumable& job, caf::execution_unit& unit, size_t messages_max);

} // namespace perigee::sim
