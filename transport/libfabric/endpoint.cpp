// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/endpoint.hpp"

#include <fmt/format.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include <array>
#include <charconv>

namespace perigee::transport {

namespace {

constexpr size_t queue_entries = 1024;
constexpr size_t polled_at_once = 32;
constexpr size_t name_bytes_max = 512;

} // namespace

endpoint::endpoint(domain& owner) : domain_(owner) {
  auto table = fi_av_attr{};
  table.type = FI_AV_TABLE;
  fid_av* addresses = nullptr;
  require_fi(fi_av_open(owner.get(), &table, &addresses, nullptr), "libfabric: opening an address table");
  addresses_.reset(addresses);

  auto queue = fi_cq_attr{};
  queue.format = FI_CQ_FORMAT_DATA;
  queue.size = queue_entries;
  queue.wait_obj = FI_WAIT_FD;
  fid_cq* opened = nullptr;
  auto result = fi_cq_open(owner.get(), &queue, &opened, nullptr);
  auto can_wait = result == 0;
  if (result == -FI_ENOSYS) { // Shared memory: it can only be polled.
    queue.wait_obj = FI_WAIT_NONE;
    result = fi_cq_open(owner.get(), &queue, &opened, nullptr);
  }
  require_fi(result, "libfabric: opening a completion queue");
  queue_.reset(opened);

  fid_ep* made = nullptr;
  require_fi(fi_endpoint(owner.get(), owner.info(), &made, nullptr), "libfabric: making an endpoint");
  endpoint_.reset(made);
  require_fi(fi_ep_bind(made, &addresses->fid, 0), "libfabric: binding the address table");
  require_fi(fi_ep_bind(made, &opened->fid, FI_TRANSMIT | FI_RECV), "libfabric: binding the completion queue");
  require_fi(fi_enable(made), "libfabric: enabling an endpoint");
  if (can_wait)
    require_fi(fi_control(&opened->fid, FI_GETWAIT, &wait_fd_), "libfabric: asking for the queue's descriptor");
}

std::string endpoint::address() const {
  auto name = std::array<unsigned char, name_bytes_max>{};
  auto size = name.size();
  require_fi(fi_getname(&endpoint_->fid, name.data(), &size), "libfabric: asking for an endpoint's name");
  auto text = fmt::format("{}@", domain_.info()->fabric_attr->prov_name);
  for (auto i = size_t{0}; i < size; ++i)
    text += fmt::format("{:02x}", name[i]);
  return text;
}

void endpoint::connect(std::string_view address) {
  auto at = address.find('@');
  auto provider = std::string_view{domain_.info()->fabric_attr->prov_name};
  if (at == std::string_view::npos || address.substr(0, at) != provider)
    throw failure{errc::invalid_argument,
                  fmt::format("the peer's address '{}' is none of provider '{}'; both sides need the same provider",
                              address, provider)};
  auto digits = address.substr(at + 1);
  auto name = std::array<unsigned char, name_bytes_max>{};
  auto good = !digits.empty() && digits.size() % 2 == 0 && digits.size() / 2 <= name.size();
  for (auto i = size_t{0}; good && i < digits.size(); i += 2) {
    auto end = digits.data() + i + 2;
    good = std::from_chars(digits.data() + i, end, name[i / 2], 16).ptr == end;
  }
  if (!good)
    throw failure{errc::invalid_argument, fmt::format("the peer's address '{}' is damaged", address)};
  auto inserted = fi_addr_t{FI_ADDR_UNSPEC};
  if (auto count = fi_av_insert(addresses_.get(), name.data(), 1, &inserted, 0, nullptr); count != 1)
    throw failure{errc::invalid_argument, fmt::format("libfabric does not take the peer's address '{}'", address)};
  peer_ = inserted;
}

long endpoint::write(operation& op, const std::byte* from, void* descriptor, uint64_t address, uint64_t key,
                     std::optional<uint32_t> immediate) {
  if (immediate)
    return fi_writedata(endpoint_.get(), from, op.bytes, descriptor, *immediate, peer_, address, key, &op.context);
  return fi_write(endpoint_.get(), from, op.bytes, descriptor, peer_, address, key, &op.context);
}

long endpoint::read(operation& op, std::byte* to, void* descriptor, uint64_t address, uint64_t key) {
  return fi_read(endpoint_.get(), to, op.bytes, descriptor, peer_, address, key, &op.context);
}

size_t endpoint::poll(std::vector<completion>& out) {
  auto entries = std::array<fi_cq_data_entry, polled_at_once>{};
  auto count = fi_cq_read(queue_.get(), entries.data(), entries.size());
  if (count == -FI_EAGAIN)
    return 0;
  if (count < 0) {
    out.push_back(
      count == -FI_EAVAIL
        ? failed()
        : completion{nullptr, {}, {fi_errc(static_cast<int>(count)), fi_strerror(static_cast<int>(-count))}});
    return 1;
  }
  for (auto i = ssize_t{0}; i < count; ++i) {
    if ((entries[i].flags & FI_REMOTE_CQ_DATA) != 0)
      out.push_back({nullptr, static_cast<uint32_t>(entries[i].data), {}});
    else
      out.push_back({static_cast<operation*>(entries[i].op_context), {}, {}});
  }
  return static_cast<size_t>(count);
}

completion endpoint::failed() const {
  auto entry = fi_cq_err_entry{};
  if (fi_cq_readerr(queue_.get(), &entry, 0) < 0)
    return {nullptr, {}, {errc::io_error, "the provider reports an error and does not say which"}};
  auto error = std::abs(entry.err); // shared memory gives negative ones
  auto text = std::string{fi_strerror(error)};
  if (entry.prov_errno != 0)
    text += fmt::format(" (provider error {})", entry.prov_errno);
  return {static_cast<operation*>(entry.op_context), {}, {fi_errc(error), std::move(text)}};
}

} // namespace perigee::transport
