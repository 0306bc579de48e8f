// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/domain.hpp"

#include "transport/base/spread_key.hpp"

#include <fmt/format.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>

namespace perigee::transport {

namespace {

constexpr uint32_t api_version = FI_VERSION(1, 17);
constexpr size_t immediate_bytes = 4;
// We pass no messages: the provider's receive buffers, which cost memory per endpoint, are kept few.
constexpr size_t receives = 64;
constexpr size_t sends = 512;

/// Settings of the provider that only its environment offers, where the user has not chosen. We send no messages, but
/// the provider keeps message buffers per endpoint: 69 MB as it comes, 3 MB so. Connections are looked at more often
/// than every 10 ms.
void choose_defaults() {
  static auto once = std::once_flag{};
  std::call_once(once, [] {
    setenv("FI_OFI_RXM_BUFFER_SIZE", "512", 0);
    setenv("FI_OFI_RXM_EAGER_LIMIT", "512", 0); // verbs wants it equal to the buffer
    setenv("FI_OFI_RXM_SAR_LIMIT", "1024", 0);
    setenv("FI_OFI_RXM_MSG_RX_SIZE", "64", 0);
    setenv("FI_OFI_RXM_CM_PROGRESS_INTERVAL", "1000", 0);
  });
}

uint64_t random_seed() {
  auto device = std::random_device{};
  return uint64_t{device()} << 32 | device();
}

info_handle find(const libfabric_options& options) {
  choose_defaults();
  auto hints = info_handle{fi_allocinfo()};
  if (!hints)
    throw failure{errc::exhausted, "libfabric: no memory for hints"};
  hints->ep_attr->type = FI_EP_RDM;
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
  hints->domain_attr->threading = FI_THREAD_SAFE;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  // Otherwise a write completes when it left, also towards a peer that is dead or never looks.
  hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
  hints->fabric_attr->prov_name = strdup(options.provider.c_str()); // freed with the hints
  // Shared memory knows no interfaces.
  auto with_host = !options.host.empty() && options.provider.find("shm") == std::string::npos;
  fi_info* found = nullptr;
  auto result = fi_getinfo(api_version, with_host ? options.host.c_str() : nullptr, nullptr, with_host ? FI_SOURCE : 0,
                           hints.get(), &found);
  if (result != 0)
    throw failure{
      result == -FI_ENODATA ? errc::not_found : errc::io_error,
      fmt::format("libfabric provider '{}' on host '{}' offers no reliable datagram endpoint with remote writes ({}); "
                  "'fi_info -l' lists the providers of this machine, 'tcp;ofi_rxm' works everywhere",
                  options.provider, options.host, fi_strerror(-result))};
  return info_handle{found};
}

} // namespace

domain::domain(const libfabric_options& options) : options_(options), info_(find(options)), key_seed_(random_seed()) {
  const auto& limits = *info_->domain_attr;
  if (limits.cq_data_size < immediate_bytes)
    throw failure{
      errc::unsupported,
      fmt::format("libfabric provider '{}' carries immediates of {} bytes, {} are needed; use another provider",
                  options.provider, limits.cq_data_size, immediate_bytes)};
  info_->tx_attr->size = std::min(info_->tx_attr->size, sends);
  info_->rx_attr->size = std::min(info_->rx_attr->size, receives);
  fid_fabric* fabric = nullptr;
  require_fi(fi_fabric(info_->fabric_attr, &fabric, nullptr), "libfabric: opening the fabric");
  fabric_.reset(fabric);
  fid_domain* opened = nullptr;
  require_fi(fi_domain(fabric, info_.get(), &opened, nullptr), "libfabric: opening the domain");
  domain_.reset(opened);
}

registration domain::register_memory(std::span<std::byte> memory) {
  // Unguessed by accident: a peer that still believes in an earlier process at this address must find no key of it.
  auto key_bits = std::min<size_t>(info_->domain_attr->mr_key_size, 8) * 8;
  auto key = spread_key(key_seed_, ++keys_made_) >> (64 - key_bits);
  fid_mr* made = nullptr;
  require_fi(fi_mr_reg(domain_.get(), memory.data(), memory.size(),
                       FI_REMOTE_READ | FI_REMOTE_WRITE | FI_READ | FI_WRITE, 0, key, 0, &made, nullptr),
             fmt::format("libfabric: registering {} bytes", memory.size()));
  auto out = registration{memory, fid_handle<fid_mr>{made}, fi_mr_desc(made), {}};
  auto by_address = (info_->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
  out.remote = {fi_mr_key(made), by_address ? reinterpret_cast<uint64_t>(memory.data()) : 0, memory.size()};
  return out;
}

bool domain::ordered_writes() const noexcept {
  return options_.trust_order && (info_->tx_attr->msg_order & (FI_ORDER_WAW | FI_ORDER_RMA_WAW)) != 0
         && info_->ep_attr->max_order_waw_size >= options_.piece_bytes_max;
}

std::string domain::describe() const {
  auto version = fi_version();
  return fmt::format("libfabric {}.{} {} on {}: pieces of {} KiB, {} KiB in flight to a peer, writes {}",
                     FI_MAJOR(version), FI_MINOR(version), info_->fabric_attr->prov_name, info_->domain_attr->name,
                     options_.piece_bytes_max >> 10, options_.window_bytes >> 10,
                     ordered_writes() ? "in order" : "in any order");
}

} // namespace perigee::transport
