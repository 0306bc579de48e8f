// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/plugin_loader.hpp"

#include "actors/policy/plugin.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>

namespace perigee {

namespace {

struct unload {
  void operator()(void* library) const {
    dlclose(library);
  }
};

} // namespace

std::optional<std::string> load_policy_plugin(const std::string& file) {
  auto error = std::error_code{};
  // Without a slash, dlopen would search the system's folders.
  auto path = std::filesystem::absolute(file, error).lexically_normal();
  if (file.empty() || !std::filesystem::is_regular_file(path, error))
    return fmt::format("plugin \"{}\": there is no such file (relative to the working directory)", file);
  auto library = std::unique_ptr<void, unload>{dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)};
  if (!library)
    return fmt::format("plugin \"{}\" cannot be loaded: {}", file, dlerror());
  auto* entry = reinterpret_cast<policy_plugin_function*>(dlsym(library.get(), policy_plugin_symbol));
  if (entry == nullptr)
    return fmt::format("plugin \"{}\" exports no function {}; is PERIGEE_POLICY_PLUGIN(...) in it?", file,
                       policy_plugin_symbol);
  if (auto wrong = add_policy_plugin(*entry(), path.string()))
    return fmt::format("plugin \"{}\" is refused: {}", file, *wrong);
  library.release();
  return std::nullopt;
}

} // namespace perigee
