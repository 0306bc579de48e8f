// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/doctor_checks.hpp"

#include "apps/perigee/launcher.hpp"
#include "apps/perigee/unique_fd.hpp"

#include <fmt/format.h>

#include <netdb.h>
#include <rdma/fabric.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

namespace perigee::cli {

namespace {

using addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Null where `host` has no address; `why` then says so.
addresses resolve(const std::string& host, uint16_t port, std::string& why) {
  auto hints = addrinfo{};
  hints.ai_socktype = SOCK_STREAM;
  auto* raw = static_cast<addrinfo*>(nullptr);
  if (auto rc = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &raw); rc != 0)
    why = gai_strerror(rc);
  return {raw, freeaddrinfo};
}

/// Why nobody can listen there; empty if one can.
std::string listen_problem(const std::string& host, uint16_t port) {
  auto why = std::string{};
  auto at = resolve(host, port, why);
  if (!at)
    return why;
  auto socket = unique_fd{::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  auto reuse = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  if (::bind(socket.get(), at->ai_addr, at->ai_addrlen) != 0 || ::listen(socket.get(), 1) != 0)
    return std::strerror(errno);
  return "";
}

void check_port(const actors::node_config& node, const char* key, uint16_t port, findings& out) {
  if (port == 0)
    return;
  auto problem = listen_problem(node.host, port);
  auto about = fmt::format("node {}", node.name);
  if (problem.empty())
    out.push_back({verdict::ok, about, fmt::format("{} port {}:{} is free", key, node.host, port)});
  else
    out.push_back(
      {verdict::fail, about,
       fmt::format("{} port {}:{}: {}; stop what uses it or change `{}`", key, node.host, port, problem, key)});
}

} // namespace

void check_network(const actors::cluster_config& config, findings& out) {
  for (const auto& node : config.nodes) {
    if (is_local_host(node.host)) {
      check_port(node, "control", node.control, out);
      check_port(node, "http", node.http, out);
      continue;
    }
    auto why = std::string{};
    auto found = resolve(node.host, node.control, why) != nullptr;
    out.push_back({found ? verdict::ok : verdict::fail, fmt::format("node {}", node.name),
                   found ? fmt::format("on another machine, {}", node.host) : fmt::format("{}: {}", node.host, why)});
  }
}

void check_providers(const std::string& wanted, findings& out) {
  auto hints = std::unique_ptr<fi_info, decltype(&fi_freeinfo)>{fi_allocinfo(), fi_freeinfo};
  hints->ep_attr->type = FI_EP_RDM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  auto* raw = static_cast<fi_info*>(nullptr);
  auto rc = fi_getinfo(FI_VERSION(1, 17), nullptr, nullptr, 0, hints.get(), &raw);
  auto found = std::unique_ptr<fi_info, decltype(&fi_freeinfo)>{raw, fi_freeinfo};
  auto names = std::set<std::string>{};
  for (auto* entry = found.get(); entry != nullptr; entry = entry->next)
    names.insert(entry->fabric_attr->prov_name);
  auto all = std::string{};
  for (const auto& name : names)
    all += (all.empty() ? "" : ", ") + name;
  auto version = fi_version();
  auto detail =
    fmt::format("libfabric {}.{}: {}", FI_MAJOR(version), FI_MINOR(version), rc == 0 ? all : fi_strerror(-rc));
  if (names.contains(wanted))
    out.push_back({verdict::ok, "providers", detail});
  else
    out.push_back({verdict::fail, "providers", fmt::format("{}; \"{}\" is not among them", detail, wanted)});
}

} // namespace perigee::cli
