// SPDX-License-Identifier: Apache-2.0
#include "transport/bench_far_pool.hpp"

#include "transport/libfabric/libfabric_fabric.hpp"
#include "transport/pool_memory.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace perigee::transport {

namespace {

/// Whoever is written to does not look at what comes.
class no_events final : public fabric_events {
public:
  void completed(uint64_t, status, uint64_t) override {}
  void arrived(peer_id, uint32_t) override {}
  void fenced(peer_id) override {}
};

void offer(const far_pool::place& where, uint64_t bytes, stream_socket control, const far_pool::work& then) {
  auto pool = pool_memory{bytes};
  std::memset(pool.bytes().data(), 1, pool.bytes().size());
  auto events = no_events{};
  auto own = make_libfabric({.provider = where.provider, .host = where.host}, events);
  auto offered = own->remote(own->register_memory(pool.bytes()));
  auto peer = own->open_peer("bench");
  control.send_text(own->local_address(peer));
  control.send_word(offered.key);
  control.send_word(offered.base);
  own->connect(peer, control.receive_text());
  then(control, pool.bytes());
}

} // namespace

far_pool::far_pool(const place& where, uint64_t bytes, const work& then) : bytes_(bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw failure{errc::exhausted, fmt::format("cannot make a pair of sockets: {}", std::strerror(errno))};
  control_ = stream_socket{ends[0]};
  auto far = stream_socket{ends[1]};
  process_ = fork();
  if (process_ < 0)
    throw failure{errc::exhausted, fmt::format("cannot start a second process: {}", std::strerror(errno))};
  if (process_ > 0)
    return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    { auto closed = std::move(control_); }
    offer(where, bytes, std::move(far), then);
  } catch (const std::exception&) {
    // The control connection ended, or ends now: the first process tells why.
  }
  _exit(0);
}

far_pool::~far_pool() {
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

remote_region far_pool::connect(fabric& own, peer_id peer) {
  control_.send_text(own.local_address(peer));
  own.connect(peer, control_.receive_text());
  auto key = control_.receive_word();
  return {key, control_.receive_word(), bytes_};
}

} // namespace perigee::transport
