// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the author of a policy plugin includes. A plugin is a shared library that holds policies as plain values; the shell that
// makes actors of them stays in perigee, so a plugin links nothing: neither perigee's libraries nor CAF.

#include "actors/policy/load_view.hpp"
#include "actors/policy/policy_parameter.hpp"
#include "actors/policy/policy_random.hpp"
#include "actors/policy/routing_policy.hpp"

#include <caf/config.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace perigee {

/// Raised whenever the meaning of what a policy is asked, knows or answers changes.
inline constexpr uint32_t policy_abi = 1;

/// A policy of a plugin at work. Made, used and destroyed by code of the plugin, from one thread at a time.
class plugin_policy {
public:
  virtual ~plugin_policy() = default;
  virtual route_decision decide(const route_query& query, const load_view& view) = 0;
};

/// One policy that a plugin offers.
struct plugin_entry {
  std::string name;
  std::string summary;
  std::vector<parameter_info> parameters;
  /// A policy with these parameters, which were checked; `seed` is for its generator, if it has one.
  std::unique_ptr<plugin_policy> (*make)(uint64_t seed, const parameter_values& parameters) = nullptr;
};

/// What the one function that a plugin exports returns. All but `list` is plain C and never changes its place, so that it can be
/// read from a plugin of any age; `list` is called only if all of it is equal on both sides.
struct policy_plugin {
  uint32_t abi = policy_abi;
  const char* compiler = "";
  const char* library = "";
  uint32_t caf = 0; ///< 1807: 0.18.7
  uint64_t layout = 0;
  void (*list)(std::vector<plugin_entry>& into) = nullptr;
};

/// Its type, and the name it is exported under.
using policy_plugin_function = const policy_plugin*();
inline constexpr const char* policy_plugin_symbol = "perigee_policy_plugin";

/// What the translation unit at hand was compiled with and for.
constexpr policy_plugin policy_plugin_identity() noexcept {
#define PERIGEE_TEXT_OF(x) #x
#define PERIGEE_TEXT(x) PERIGEE_TEXT_OF(x)
  auto result = policy_plugin{};
#if defined(__clang__)
  result.compiler = "clang " PERIGEE_TEXT(__clang_major__) ", C++ " PERIGEE_TEXT(__cplusplus);
#else
  result.compiler = "gcc " PERIGEE_TEXT(__GNUC__) ", C++ " PERIGEE_TEXT(__cplusplus);
#endif
#if defined(_GLIBCXX_DEBUG)
  result.library = "libstdc++ " PERIGEE_TEXT(_GLIBCXX_RELEASE) " in debug mode";
#elif defined(_GLIBCXX_RELEASE)
  result.library = "libstdc++ " PERIGEE_TEXT(_GLIBCXX_RELEASE) ", string ABI " PERIGEE_TEXT(_GLIBCXX_USE_CXX11_ABI);
#else
  result.library = "another standard library";
#endif
  result.caf = CAF_VERSION;
#undef PERIGEE_TEXT
#undef PERIGEE_TEXT_OF
  for (auto size : {sizeof(route_query), sizeof(candidate), sizeof(route_decision), sizeof(route_offer),
                    sizeof(instance_load), sizeof(address), sizeof(load_view), sizeof(plugin_entry),
                    sizeof(parameter_info)})
    result.layout = result.layout * 1021 + size;
  return result;
}

/// Any routing policy as a policy of a plugin.
template <routing_policy Policy>
plugin_entry plugin_entry_of() {
  struct held final : plugin_policy {
    explicit held(Policy value) : policy(std::move(value)) {}
    route_decision decide(const route_query& query, const load_view& view) override {
      return policy.decide(query, view);
    }
    Policy policy;
  };
  return {Policy::name, Policy::summary, describe_parameters<Policy>(),
          [](uint64_t seed, const parameter_values& parameters) -> std::unique_ptr<plugin_policy> {
            return std::make_unique<held>(make_policy<Policy>(seed, parameters));
          }};
}

template <routing_policy... Policies>
constexpr policy_plugin policy_plugin_of() {
  auto result = policy_plugin_identity();
  result.list = [](std::vector<plugin_entry>& into) { (into.push_back(plugin_entry_of<Policies>()), ...); };
  return result;
}

} // namespace perigee

/// Stands once in a plugin, outside namespaces: `PERIGEE_POLICY_PLUGIN(route_mine, route_other)`.
#define PERIGEE_POLICY_PLUGIN(...)                                                                                     \
  extern "C" __attribute__((visibility("default"))) const perigee::policy_plugin* perigee_policy_plugin() {            \
    static constexpr auto plugin = perigee::policy_plugin_of<__VA_ARGS__>();                                           \
    return &plugin;                                                                                                    \
  }
