// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/sim_profile.hpp"

#include "apps/perigee/usage.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace perigee::cli {

namespace {

namespace json = boost::json;

/// Fields of one object of a profile file; remembers which were read, so that one nobody knows is refused.
class fields {
public:
  fields(const json::value& value, std::string path) : path_(std::move(path)) {
    if (!value.is_object())
      refuse("", "an object");
    object_ = &value.get_object();
  }

  bool has(const char* name) const {
    return object_->contains(name);
  }

  const json::value& at(const char* name) {
    seen_.emplace_back(name);
    const auto* found = object_->if_contains(name);
    if (found == nullptr)
      refuse(name, "a value; it is missing");
    return *found;
  }

  double number(const char* name, double min = 0) {
    const auto& value = at(name);
    auto result = value.is_double()   ? value.get_double()
                  : value.is_int64()  ? static_cast<double>(value.get_int64())
                  : value.is_uint64() ? static_cast<double>(value.get_uint64())
                                      : -1.0;
    if (!(result >= min) || result > 1e30)
      refuse(name, fmt::format("a number of at least {}", min));
    return result;
  }

  double number_or(const char* name, double otherwise, double min = 0) {
    return has(name) ? number(name, min) : otherwise;
  }

  fields object(const char* name) {
    return {at(name), path_ + "." + name};
  }

  void done() const {
    for (const auto& item : *object_)
      if (std::ranges::find(seen_, item.key()) == seen_.end())
        throw usage_error(fmt::format("--profile: {}.{}: unknown field; see docs/simulation.md", path_,
                                      std::string_view{item.key()}));
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& allowed) const {
    throw usage_error(fmt::format("--profile: {}{}{}: allowed: {}", path_, name.empty() ? "" : ".", name, allowed));
  }

private:
  std::string path_;
  const json::object* object_ = nullptr;
  std::vector<std::string> seen_;
};

std::string read_file(const std::string& path) {
  auto in = std::ifstream{path};
  auto text = std::stringstream{};
  text << in.rdbuf();
  if (!in)
    throw usage_error(fmt::format("--profile: found \"{}\", allowed: a800x8-llama3-70b, or a JSON file that can be read", path));
  return text.str();
}

void read_sizes(fields& file, sim::replay_profile& into) {
  into.handover_layers = file.number_or("handover_layers", into.handover_layers, 1);
  into.decode_tokens = static_cast<uint64_t>(file.number_or("decode_tokens", static_cast<double>(into.decode_tokens), 512));
  into.cache_tokens = static_cast<uint64_t>(file.number_or("cache_tokens", static_cast<double>(into.cache_tokens), 512));
  into.costs.network_bytes_second = file.number_or("network_bytes_second", into.costs.network_bytes_second, 1);
  into.costs.kv_bytes_token = file.number_or("kv_bytes_token", into.costs.kv_bytes_token, 1);
}

void read_coefficients(fields& file, sim::replay_profile& into) {
  auto prefill = file.object("prefill");
  into.costs.prefill_constant = prefill.number("constant_s");
  into.costs.prefill_token = prefill.number("token_s");
  into.costs.prefill_square = prefill.number("token2_s");
  into.costs.prefill_reused = prefill.number_or("reused_token_s", 0);
  prefill.done();
  auto step = file.object("step");
  into.costs.step_constant = step.number("constant_s");
  into.costs.step_row = step.number("row_s");
  into.costs.step_context_token = step.number("context_token_s");
  step.done();
}

/// The usual roofline: prefill is bound by arithmetic, decode by reading weights and KV.
void derive_roofline(fields& file, sim::replay_profile& into) {
  auto model = file.object("model");
  auto hidden = model.number("hidden_size", 1);
  auto layers = model.number("num_hidden_layers", 1);
  auto heads = model.number("num_attention_heads", 1);
  auto kv_heads = model.number_or("num_key_value_heads", heads, 1);
  auto inner = model.number("intermediate_size", 1);
  auto vocabulary = model.number("vocab_size", 1);
  auto head = model.number_or("head_dim", hidden / heads, 1);
  auto hardware = file.object("hardware");
  auto flops = hardware.number("flops", 1) * hardware.number_or("achieved", 0.5, 1e-6);
  auto memory = hardware.number("memory_bytes_second", 1);
  auto dtype_bytes = hardware.number_or("dtype_bytes", 2, 1);
  into.costs.network_bytes_second = hardware.number("nic_bytes_second", 1);
  auto kv = kv_heads * head;
  auto weights = layers * (2 * hidden * heads * head + 2 * hidden * kv + 3 * hidden * inner);
  auto all_weights = weights + hidden * vocabulary;
  into.costs.kv_bytes_token = 2 * layers * kv * dtype_bytes;
  into.costs.prefill_token = 2 * weights / flops;
  into.costs.prefill_square = 2 * layers * heads * head / flops; // 4 for each pair of positions, and half of them
  into.costs.prefill_reused = into.costs.kv_bytes_token / memory;
  into.costs.prefill_constant = all_weights * dtype_bytes / memory;
  into.costs.step_constant = all_weights * dtype_bytes / memory;
  into.costs.step_row = 2 * all_weights / flops;
  into.costs.step_context_token = into.costs.kv_bytes_token / memory;
  into.handover_layers = layers;
  if (hardware.has("memory_bytes")) {
    auto room = hardware.number("memory_bytes") - all_weights * dtype_bytes;
    if (room < 512 * into.costs.kv_bytes_token)
      hardware.refuse("memory_bytes", "more than the weights and one block of KV need");
    into.decode_tokens = static_cast<uint64_t>(room / into.costs.kv_bytes_token);
  }
  hardware.done();
}

/// The coefficients that `perigee bench engine --json` fitted to what it measured.
void read_measured(fields& file, sim::replay_profile& into) {
  auto profile = file.object("profile");
  into.costs.prefill_constant = profile.number("prefill_constant");
  into.costs.prefill_token = profile.number("prefill_token");
  into.costs.prefill_square = profile.number("prefill_square");
  into.costs.prefill_reused = profile.number("prefill_reused");
  into.costs.step_constant = profile.number("step_constant");
  into.costs.step_row = profile.number("step_row");
  into.costs.step_context_token = profile.number("step_context_token");
  into.costs.kv_bytes_token = profile.number("kv_bytes_token", 1);
  profile.done();
  if (file.has("together")) {
    auto together = file.object("together");
    into.together_prefill = together.number("prefill", 1);
    into.together_step = together.number("step", 1);
    together.done();
  }
  into.chunks_alone = true; // What it measured are single passes over the weights, and a chunk is one.
}

} // namespace

sim::replay_profile parse_profile(const std::string& text, const std::string& name) {
  auto problem = boost::system::error_code{};
  auto value = json::parse(text, problem);
  if (problem)
    throw usage_error(fmt::format("--profile: {}: not JSON: {}", name, problem.message()));
  auto file = fields{value, name};
  auto result = sim::replay_profile{};
  result.name = name;
  if (file.has("hardware")) {
    derive_roofline(file, result);
    read_sizes(file, result);
    file.done();
  } else if (file.has("profile")) {
    read_measured(file, result);
    read_sizes(file, result); // What else the benchmark says is of no use here.
  } else {
    read_coefficients(file, result);
    read_sizes(file, result);
    file.done();
  }
  return result;
}

sim::replay_profile load_profile(const std::string& name_or_file) {
  auto known = sim::replay_profile{};
  return name_or_file == known.name ? known : parse_profile(read_file(name_or_file), name_or_file);
}

} // namespace perigee::cli
