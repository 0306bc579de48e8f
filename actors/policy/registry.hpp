// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/interfaces.hpp"
#include "actors/policy/pipelining.hpp"
#include "actors/policy/policy_parameter.hpp"

#include <caf/actor_system.hpp>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perigee {

/// What one policy actor is started with.
struct policy_setup {
  uint64_t seed = 0; ///< of its generator, if it draws: in production from the incarnation, in the simulator from its seed
  parameter_values parameters; ///< checked against the entry's
};

/// Starts a policy actor; without a setup with seed 0 and defaults.
class policy_maker {
public:
  using function = std::function<policy_actor(caf::actor_system&, const policy_setup&)>;

  explicit policy_maker(function make, policy_setup setup = {}) : make_(std::move(make)), setup_(std::move(setup)) {}

  policy_actor operator()(caf::actor_system& system) const {
    return make_(system, setup_);
  }
  /// The same maker with another setup.
  policy_maker with(policy_setup setup) const {
    return policy_maker{make_, std::move(setup)};
  }

private:
  function make_;
  policy_setup setup_;
};

/// One routing policy that this process offers.
struct policy_entry {
  std::string name;
  std::string summary;
  std::vector<parameter_info> parameters;
  policy_maker spawn;
  std::string plugin = {}; ///< the file it came from; empty: built in
  bool changes_roles = false; ///< decides which of two instances on one device is used
  std::optional<pipelining> groups = {}; ///< which prompts several prefill instances share, if it wants that
};

/// All of them: those of this binary, then those of plugins in the order in which they came.
const std::deque<policy_entry>& routing_policies();

/// Null if there is none of that name.
const policy_entry* find_routing_policy(std::string_view name);

/// A small policy that is a plain value where it is used: its name, and one line for people.
struct policy_line {
  std::string name;
  std::string summary;
};

/// One kind of small policies, for `perigee policies`.
struct policy_kind {
  std::string kind;    ///< "admission"
  std::string purpose; ///< one line
  std::vector<policy_line> choices;
};

/// Every kind but routing.
const std::vector<policy_kind>& small_policies();

} // namespace perigee
