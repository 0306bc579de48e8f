// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/doctor_checks.hpp"

#include "actors/node/config_keys.hpp"
#include "apps/perigee/launcher.hpp"

#include <fmt/format.h>

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

namespace perigee::cli {

namespace {

using actors::format_bytes;
using actors::node_role;

constexpr uint64_t kib = 1024;

/// Bytes of a line "NAME:  123 kB" of /proc/meminfo.
uint64_t memory_info(std::string_view name) {
  auto file = std::ifstream{"/proc/meminfo"};
  for (auto line = std::string{}; std::getline(file, line);)
    if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':')
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) * (line.ends_with("kB") ? kib : 1);
  return 0;
}

/// The choice in brackets of a kernel setting such as "always [madvise] never".
std::string chosen_setting(const std::filesystem::path& path) {
  auto file = std::ifstream{path};
  for (auto word = std::string{}; file >> word;)
    if (word.size() > 2 && word.front() == '[')
      return word.substr(1, word.size() - 2);
  return "unknown";
}

std::string rounded(uint64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / static_cast<double>(kib * kib * kib));
}

uint64_t soft_limit(int resource) {
  auto limit = rlimit{};
  ::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
  return limit.rlim_cur;
}

void check_locked_memory(findings& out) {
  auto limit = soft_limit(RLIMIT_MEMLOCK);
  if (limit == RLIM_INFINITY)
    return out.push_back({verdict::ok, "locked memory", "unlimited"});
  auto detail =
    fmt::format("limit {}: enough for tcp; RDMA providers pin the pools, so raise it there (ulimit -l unlimited)",
                format_bytes(limit));
  out.push_back({limit >= kib * kib * kib ? verdict::ok : verdict::warn, "locked memory", std::move(detail)});
}

void check_huge_pages(findings& out) {
  auto pages = memory_info("HugePages_Total");
  auto transparent = chosen_setting("/sys/kernel/mm/transparent_hugepage/enabled");
  auto has_any = pages > 0 || transparent == "always" || transparent == "madvise";
  out.push_back(
    {has_any ? verdict::ok : verdict::warn, "huge pages",
     fmt::format("{} reserved, transparent: {}{}", pages, transparent,
                 has_any ? ""
                         : "; large pools run faster with /sys/kernel/mm/transparent_hugepage/enabled = madvise")});
}

void check_open_files(findings& out) {
  constexpr uint64_t wanted = 4'096;
  auto limit = soft_limit(RLIMIT_NOFILE);
  auto is_enough = limit >= wanted;
  out.push_back({is_enough ? verdict::ok : verdict::warn, "open files",
                 is_enough ? fmt::format("limit {}", limit)
                           : fmt::format("limit {}: a gateway holds one per connection; ulimit -n {}", limit, wanted)});
}

uint64_t memory_wanted_here(const actors::cluster_config& config) {
  auto sum = uint64_t{0};
  for (const auto& node : config.nodes)
    if (is_local_host(node.host))
      sum += node.kv_memory * (node.count(node_role::prefill) + node.count(node_role::decode))
             + node.shard_memory * node.count(node_role::shard);
  return sum;
}

void check_memory(const actors::cluster_config* config, findings& out) {
  auto available = memory_info("MemAvailable");
  if (config == nullptr)
    return out.push_back({verdict::ok, "memory", fmt::format("{} available", rounded(available))});
  auto wanted = memory_wanted_here(*config);
  auto fits = wanted <= available;
  out.push_back({fits ? verdict::ok : verdict::fail, "memory",
                 fmt::format("{} available, pools of this machine's nodes take {}{}", rounded(available),
                             rounded(wanted), fits ? "" : "; lower kv-memory or shard-memory")});
}

} // namespace

std::string_view to_string(verdict what) noexcept {
  switch (what) {
  case verdict::ok: return "ok";
  case verdict::warn: return "warn";
  case verdict::fail: return "fail";
  }
  return "unknown";
}

void check_processor(findings& out) {
  __builtin_cpu_init();
  auto avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  auto avx512 = __builtin_cpu_supports("avx512f") != 0;
  auto bf16 = __builtin_cpu_supports("avx512bf16") != 0;
  auto has = [](bool yes) { return yes ? "yes" : "no"; };
  auto detail = fmt::format("{} cores; avx2 {}, avx512 {}, avx512_bf16 {}", std::thread::hardware_concurrency(),
                            has(avx2), has(avx512), has(bf16));
  if (!avx2)
    detail += "; the scalar kernels will run, slowly";
  else if (!bf16)
    detail += "; bf16 models are computed in f32";
  out.push_back({avx2 ? verdict::ok : verdict::warn, "processor", std::move(detail)});
}

void check_limits(const actors::cluster_config* config, findings& out) {
  check_memory(config, out);
  check_locked_memory(out);
  check_huge_pages(out);
  check_open_files(out);
}

void check_model(const actors::cluster_config& config, findings& out) {
  auto folder = std::filesystem::path{config.model};
  auto missing = std::string{};
  for (const char* name : {"config.json", "tokenizer.json"})
    if (!std::filesystem::is_regular_file(folder / name))
      missing += fmt::format(" {}", name);
  auto error = std::error_code{};
  auto files = std::filesystem::directory_iterator{folder, error};
  auto has_weights =
    std::any_of(begin(files), end(files), [](const auto& entry) { return entry.path().extension() == ".safetensors"; });
  if (!has_weights)
    missing += " *.safetensors";
  if (missing.empty())
    out.push_back({verdict::ok, "model", config.model});
  else
    out.push_back({verdict::fail, "model", fmt::format("{}: missing{}", config.model, missing)});
}

} // namespace perigee::cli
