// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/registry.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/text_table.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <cstdio>

namespace perigee::cli {

namespace {

namespace json = boost::json;

void print_table() {
  auto routing = text_table{{"ROUTING", ""}};
  auto parameters = text_table{{"PARAMETER", "OF", "DEFAULT", "FROM", "TO", ""}};
  for (const auto& entry : routing_policies()) {
    routing.add({entry.name, entry.plugin.empty() ? entry.summary : entry.summary + " (" + entry.plugin + ")"});
    for (const auto& item : entry.parameters)
      parameters.add({item.name, entry.name, fmt::format("{}", item.fallback), fmt::format("{}", item.min),
                      fmt::format("{}", item.max), item.doc});
  }
  std::printf("%s", routing.text().c_str());
  for (const auto& kind : small_policies()) {
    auto upper = kind.kind;
    for (auto& letter : upper)
      letter = static_cast<char>(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
    auto table = text_table{{upper, kind.purpose}};
    for (const auto& line : kind.choices)
      table.add({line.name, line.summary});
    std::printf("\n%s", table.text().c_str());
  }
  std::printf("\n%s", parameters.text().c_str());
}

void print_json() {
  auto routing = json::array{};
  for (const auto& entry : routing_policies()) {
    auto parameters = json::array{};
    for (const auto& item : entry.parameters)
      parameters.push_back({{"name", item.name},
                            {"default", item.fallback},
                            {"min", item.min},
                            {"max", item.max},
                            {"doc", item.doc}});
    routing.push_back({{"name", entry.name}, {"summary", entry.summary}, {"parameters", std::move(parameters)}});
    if (!entry.plugin.empty())
      routing.back().as_object()["plugin"] = entry.plugin;
  }
  auto root = json::object{{"routing", std::move(routing)}};
  for (const auto& kind : small_policies()) {
    auto list = json::array{};
    for (const auto& line : kind.choices)
      list.push_back({{"name", line.name}, {"summary", line.summary}});
    root[kind.kind] = std::move(list);
  }
  std::printf("%s\n", json::serialize(root).c_str());
}

} // namespace

void add_policies(CLI::App& app, action& chosen) {
  auto as_json = std::make_shared<bool>(false);
  auto plugins = std::make_shared<std::vector<std::string>>();
  auto* sub = app.add_subcommand("policies",
                                 "Lists the policies this binary and plugins offer, by kind, with their parameters.");
  sub->add_option("--plugin", *plugins, "a shared library with more routing policies; may be repeated");
  sub->add_flag("--json", *as_json, "one JSON object: a list for each kind");
  sub->footer("In the cluster file: policy { route = \"central\", admission = \"early\", "
              "route-params { urgent-s = 5 } }\n"
              "Examples:\n"
              "  perigee policies\n"
              "  perigee policies --json\n"
              "  perigee policies --plugin build/libmy-policies.so");
  sub->callback([&chosen, as_json, plugins] {
    chosen = [as_json, plugins] {
      load_plugins(*plugins);
      *as_json ? print_json() : print_table();
      return exit_success;
    };
  });
}

} // namespace perigee::cli
