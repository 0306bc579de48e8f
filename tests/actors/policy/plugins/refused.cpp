// SPDX-License-Identifier: Apache-2.0
// A plugin with one thing wrong: REFUSED_NAMES, or a field of what it exports (REFUSED_FIELD = REFUSED_VALUE).
#include "actors/policy/plugin.hpp"

using namespace perigee;

namespace {

template <const char* const& Name>
struct route_hold {
  static constexpr const char* name = Name;
  static constexpr const char* summary = "holds everything";

  route_decision decide(const route_query&, const load_view&) const {
    return {};
  }
};

constexpr const char* names[] = {REFUSED_NAMES};

} // namespace

extern "C" __attribute__((visibility("default"))) const policy_plugin* perigee_policy_plugin() {
  static const auto plugin = [] {
    auto result = policy_plugin_of<route_hold<names[0]>, route_hold<names[1]>>();
    result.REFUSED_FIELD = REFUSED_VALUE;
    return result;
  }();
  return &plugin;
}
