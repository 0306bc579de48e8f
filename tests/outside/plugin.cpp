// SPDX-License-Identifier: Apache-2.0
#include "route_warmest.hpp"

#include "actors/policy/plugin.hpp"

PERIGEE_POLICY_PLUGIN(warmest::route_warmest)
