// SPDX-License-Identifier: Apache-2.0
#include "actors/node/cluster_config.hpp"
#include "actors/node/config_check.hpp"
#include "actors/node/config_keys.hpp"
#include "actors/node/config_text.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/config_value.hpp>
#include <caf/init_global_meta_objects.hpp>
#include <caf/pec.hpp>
#include <caf/settings.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace perigee::actors {

namespace {

using errors = std::vector<config_error>;

/// Number of letters to insert, delete, replace or swap to get from `a` to `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  auto rows = std::vector<std::vector<size_t>>(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        rows[i][j] = i + j;
        continue;
      }
      auto replaced = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
    }
  return rows[a.size()][b.size()];
}

std::string unknown_key(std::string_view key, const std::vector<std::string_view>& known) {
  if (key.find('.') != std::string_view::npos)
    return "keys with dots are not read; write sections: perigee { slo { ttft = 30s } }";
  auto nearest = *std::ranges::min_element(known, {}, [&](std::string_view name) { return edit_distance(key, name); });
  if (edit_distance(key, nearest) <= std::max<size_t>(2, key.size() / 3))
    return fmt::format("unknown key; did you mean \"{}\"?", nearest);
  auto message = std::string{"unknown key; known here:"};
  for (auto name : known)
    message.append(" ").append(name);
  return message;
}

std::string shown(const caf::config_value& value) {
  if (auto* text = caf::get_if<std::string>(&value))
    return fmt::format("\"{}\"", *text);
  if (caf::holds_alternative<caf::config_value::list>(value))
    return "a list";
  if (caf::holds_alternative<caf::settings>(value))
    return "a section";
  return caf::to_string(value);
}

std::string wrong_type(const caf::config_value& value, std::string_view expected) {
  return fmt::format("found {}, expected {}", shown(value), expected);
}

/// Walks the parsed file along the tables of keys.
class walk {
public:
  explicit walk(errors& out) : out_(out) {}

  void file(const caf::settings& root, cluster_config& into) {
    for (const auto& [key, value] : root)
      if (key != "perigee")
        fail(key, unknown_key(key, {"perigee"}));
    auto found = root.find("perigee");
    if (found == root.end())
      fail("perigee", "missing: the section that describes the cluster");
    else if (auto* body = as_section(found->second, "perigee"))
      cluster(*body, into);
  }

private:
  void cluster(const caf::settings& from, cluster_config& into) {
    section(from, "perigee", into, {"slo", "policy", "log", "nodes"});
    subsection(from, "slo", into.slo);
    policy(from, into.policy);
    subsection(from, "log", into.log);
    auto found = from.find("nodes");
    if (found == from.end())
      return;
    auto* list = caf::get_if<caf::config_value::list>(&found->second);
    if (list == nullptr)
      return fail("perigee.nodes", wrong_type(found->second, "a list of sections: [ { name = \"a\", ... }, ... ]"));
    for (size_t i = 0; i < list->size(); ++i)
      if (auto* body = as_section((*list)[i], node_path(i)))
        node(*body, node_path(i), into.nodes.emplace_back());
      else
        into.nodes.emplace_back();
  }

  template <class Section>
  void subsection(const caf::settings& from, const std::string& name, Section& into) {
    if (auto found = from.find(name); found != from.end())
      if (auto* body = as_section(found->second, "perigee." + name))
        section(*body, "perigee." + name, into, {});
  }

  void policy(const caf::settings& from, policy_config& into) {
    auto found = from.find("policy");
    auto* body = found == from.end() ? nullptr : as_section(found->second, "perigee.policy");
    if (body == nullptr)
      return;
    section(*body, "perigee.policy", into, {"route-params", "conditional", "cpp"});
    if (auto given = body->find("conditional"); given != body->end())
      if (auto* limits = as_section(given->second, "perigee.policy.conditional"))
        section(*limits, "perigee.policy.conditional", into.conditional.emplace(), {});
    if (auto given = body->find("cpp"); given != body->end())
      if (auto* limits = as_section(given->second, "perigee.policy.cpp"))
        section(*limits, "perigee.policy.cpp", into.cpp.emplace(), {});
    auto params = body->find("route-params");
    auto* values = params == body->end() ? nullptr : as_section(params->second, "perigee.policy.route-params");
    if (values == nullptr)
      return;
    for (const auto& [name, value] : *values)
      if (auto* real = caf::get_if<double>(&value))
        into.route_params[name] = *real;
      else if (auto* whole = caf::get_if<int64_t>(&value))
        into.route_params[name] = static_cast<double>(*whole);
      else
        fail("perigee.policy.route-params." + name, wrong_type(value, "a number"));
  }

  void node(const caf::settings& from, const std::string& path, node_config& into) {
    section(from, path, into, {});
    auto runs = [&](std::initializer_list<node_role> any) {
      return std::ranges::any_of(any, [&](node_role what) { return into.count(what) > 0; });
    };
    needs_role(from, path, "http", runs({node_role::gateway}), "gateway");
    needs_role(from, path, "prefill-count", runs({node_role::prefill}), "prefill");
    needs_role(from, path, "decode-count", runs({node_role::decode}), "decode");
    needs_role(from, path, "begin-as", into.count(node_role::prefill) > 0 && into.count(node_role::decode) > 0,
               "prefill or no role decode");
    needs_role(from, path, "shard-memory", runs({node_role::shard}), "shard");
    needs_role(from, path, "kv-memory", runs({node_role::prefill, node_role::decode}), "prefill or decode");
    needs_role(from, path, "device", runs({node_role::prefill, node_role::decode}), "prefill or decode");
    needs_role(from, path, "pin-threads", runs({node_role::prefill, node_role::decode}), "prefill or decode");
    needs_role(from, path, "threads", runs({node_role::prefill, node_role::decode}), "prefill or decode");
  }

  void needs_role(const caf::settings& from, const std::string& path, std::string_view key, bool has_role,
                  const char* wanted) {
    auto given = from.find(caf::string_view{key.data(), key.size()}) != from.end();
    if (given && !has_role)
      fail(fmt::format("{}.{}", path, key),
           fmt::format("given, but the node has no role {}; add the role or drop the key", wanted));
  }

  template <class Section>
  void section(const caf::settings& from, const std::string& path, Section& into, std::vector<std::string_view> known) {
    for (const auto& key : config_keys<Section>())
      known.push_back(key.name);
    for (const auto& [name, value] : from) {
      auto key_path = path + '.' + name;
      auto key = std::ranges::find(config_keys<Section>(), std::string_view{name}, &config_key<Section>::name);
      if (key != config_keys<Section>().end())
        std::visit([&](auto field) { read(value, key_path, *key, into.*field); }, key->field);
      else if (std::ranges::find(known, std::string_view{name}) == known.end())
        fail(key_path, unknown_key(name, known));
    }
  }

  template <class Section>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>&, std::string& into) {
    if (auto* text = caf::get_if<std::string>(&value))
      into = *text;
    else
      fail(path, wrong_type(value, "a text in quotes"));
  }

  template <class Section>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>&, bool& into) {
    if (auto* flag = caf::get_if<bool>(&value))
      into = *flag;
    else
      fail(path, wrong_type(value, "true or false"));
  }

  template <class Section, class Number>
  requires std::is_same_v<Number, uint16_t> || std::is_same_v<Number, uint32_t>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>& key, Number& into) {
    auto* number = caf::get_if<int64_t>(&value);
    if (number == nullptr)
      fail(path, wrong_type(value, fmt::format("a whole number, {} to {}", key.min, key.max)));
    else if (*number < static_cast<int64_t>(key.min) || *number > static_cast<int64_t>(key.max))
      fail(path, range_message<Number>(std::to_string(*number), key));
    else
      into = static_cast<Number>(*number);
  }

  template <class Section>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>&, uint64_t& into) {
    auto bytes = std::optional<uint64_t>{};
    if (auto* text = caf::get_if<std::string>(&value))
      bytes = parse_bytes(*text);
    else if (auto* number = caf::get_if<int64_t>(&value); number != nullptr && *number >= 0)
      bytes = static_cast<uint64_t>(*number);
    if (bytes)
      into = *bytes;
    else
      fail(path, wrong_type(value, "a size such as \"256MiB\" (B, KiB, MiB, GiB, TiB)"));
  }

  template <class Section>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>&,
            std::chrono::nanoseconds& into) {
    if (auto* duration = caf::get_if<caf::timespan>(&value))
      into = *duration;
    else
      fail(path, wrong_type(value, "a duration without quotes, such as 100ms, 30s or 10min"));
  }

  template <class Section>
  void read(const caf::config_value& value, const std::string& path, const config_key<Section>&,
            std::vector<node_role>& into) {
    auto* list = caf::get_if<caf::config_value::list>(&value);
    if (list == nullptr)
      return fail(path, wrong_type(value, "a list of texts: [\"prefill\", \"shard\"]"));
    for (const auto& item : *list) {
      auto* text = caf::get_if<std::string>(&item);
      if (auto what = text == nullptr ? std::nullopt : parse_node_role(*text))
        into.push_back(*what);
      else
        fail(path, wrong_type(item, "one of \"gateway\", \"conductor\", \"prefill\", \"decode\", \"shard\""));
    }
  }

  const caf::settings* as_section(const caf::config_value& value, const std::string& path) {
    auto* body = caf::get_if<caf::settings>(&value);
    if (body == nullptr)
      fail(path, wrong_type(value, "a section: { ... }"));
    return body;
  }

  void fail(const std::string& path, std::string message) {
    out_.push_back({path, std::move(message)});
  }

  errors& out_;
};

config_error syntax_error(const caf::error& error, const std::string& name) {
  auto what = std::string{"malformed"};
  if (error.category() == caf::type_id_v<caf::pec>)
    what = to_string(static_cast<caf::pec>(error.code()));
  std::ranges::replace(what, '_', ' ');
  if (auto prefix = what.rfind(':'); prefix != std::string::npos)
    what.erase(0, prefix + 1);
  const auto& where = error.context();
  if (where.match_elements<int32_t, int32_t>()) // the place behind the character
    what += fmt::format(" in line {}, column {}", where.get_as<int32_t>(0), std::max(1, where.get_as<int32_t>(1) - 1));
  return {name, what};
}

/// What a check says about a part that could not even be read is noise.
bool follows_from(const config_error& check, const errors& read) {
  return std::ranges::any_of(read, [&](const config_error& e) {
    return e.path == check.path || (check.path == "perigee.nodes" && e.path.starts_with("perigee.nodes"));
  });
}

} // namespace

loaded_config parse_cluster_config(const std::string& text, const std::string& name, const known_policies& known) {
  caf::core::init_global_meta_objects(); // the reader's errors are messages
  auto [safe_text, found] = scan_config_text(text, name);
  if (std::ranges::any_of(found, [&](const config_error& e) { return e.path == name; }))
    return found;
  auto source = std::istringstream{safe_text + '\n'}; // it refuses an empty source
  auto parsed = caf::actor_system_config::parse_config(source);
  if (!parsed) {
    found.push_back(syntax_error(parsed.error(), name));
    return found;
  }
  auto config = cluster_config{};
  walk{found}.file(*parsed, config);
  if (parsed->find("perigee") == parsed->end())
    return found;
  auto offered = known;
  if (!config.policy.plugin.empty() && known.load_plugin)
    if (auto wrong = known.load_plugin(config.policy.plugin, offered)) {
      found.push_back({"perigee.policy.plugin", *wrong});
      offered.route.push_back(config.policy.route); // nobody knows what it would have offered
    }
  auto read_errors = found;
  for (auto& error : check_cluster_config(config, offered))
    if (!follows_from(error, read_errors))
      found.push_back(std::move(error));
  if (!found.empty())
    return found;
  return config;
}

loaded_config load_cluster_config(const std::string& path, const known_policies& known) {
  auto file = std::ifstream{path, std::ios::binary};
  auto text = std::string{std::istreambuf_iterator<char>{file}, {}};
  if (!file || std::filesystem::is_directory(path))
    return errors{{path, "cannot be read; expected a cluster file"}};
  return parse_cluster_config(text, path, known);
}

} // namespace perigee::actors
