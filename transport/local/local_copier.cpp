// SPDX-License-Identifier: Apache-2.0
#include "transport/local/local_copier.hpp"

#include "transport/local/copy.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace perigee::transport {

namespace {

// Bounds how long a gate is held, and how long a cancel or fence waits.
constexpr uint64_t piece_bytes_max = uint64_t{1} << 20;

} // namespace

local_copier::local_copier(local_network& network, local_node& own, fabric_events& events, ledger& books)
  : network_(network), own_(own), events_(events), books_(books), thread_([this] { run(); }) {}

local_copier::~local_copier() {
  own_.mail.push(local_command::stop{});
  thread_.join();
}

void local_copier::run() {
  for (;;) {
    if (!handle(own_.mail.take()))
      break;
    if (!jobs_.empty()) {
      step();
    } else {
      auto wait = pollfd{own_.mail.wait_fd(), POLLIN, 0};
      poll(&wait, 1, -1);
    }
  }
  {
    auto lock = std::lock_guard{own_.gate};
    own_.alive = false;
  }
  finish_peer(self_peer, "the fabric was shut down");
  for (const auto& entry : peers_)
    finish_peer(entry.first, "the fabric was shut down");
}

bool local_copier::handle(std::deque<local_mail> mail) {
  auto go_on = true;
  for (auto& command : mail)
    std::visit(
      [&](auto& known) {
        if constexpr (std::is_same_v<std::decay_t<decltype(known)>, local_command::stop>)
          go_on = false;
        else
          handle(known);
      },
      command);
  return go_on;
}

void local_copier::handle(local_command::open& command) {
  peers_.emplace(command.peer, peer{std::move(command.name), nullptr, 0, false, {}});
}

void local_copier::handle(local_command::connect& command) {
  auto found = peers_.find(command.peer);
  if (found == peers_.end())
    return; // fenced meanwhile
  auto& to = found->second;
  to.node = network_.find(command.node);
  to.there = command.there;
  to.connected = true;
  for (auto& job : std::exchange(to.waiting, {}))
    jobs_.push_back(std::move(job));
}

void local_copier::handle(local_command::post& command) {
  auto peer = command.job->work.peer;
  // A post never follows its peer's fence in the box: the owner refuses it.
  if (peer == self_peer || peers_.at(peer).connected)
    jobs_.push_back(std::move(command.job));
  else
    peers_.at(peer).waiting.push_back(std::move(command.job));
}

void local_copier::handle(local_command::refuse& command) {
  books_.refuse(events_, command.id, command.why);
}

void local_copier::handle(local_command::cancel& command) {
  if (auto job = take_job(command.id)) // else it was faster
    books_.close(events_, job->work, {errc::cancelled, fmt::format("transfer {} was cancelled", command.id)}, job->done,
                 false);
}

std::unique_ptr<local_job> local_copier::take_job(uint64_t id) {
  auto take_from = [&](std::deque<std::unique_ptr<local_job>>& row) -> std::unique_ptr<local_job> {
    auto found = std::find_if(row.begin(), row.end(), [&](const auto& job) { return job->work.id == id; });
    if (found == row.end())
      return nullptr;
    auto job = std::move(*found);
    row.erase(found);
    return job;
  };
  if (auto job = take_from(jobs_))
    return job;
  for (auto& entry : peers_)
    if (auto job = take_from(entry.second.waiting))
      return job;
  return nullptr;
}

void local_copier::handle(local_command::fence& command) {
  {
    auto lock = std::lock_guard{own_.gate};
    own_.open_peers.erase(command.peer);
  }
  auto found = peers_.find(command.peer);
  auto name = found == peers_.end() ? std::to_string(command.peer) : "'" + found->second.name + "'";
  finish_peer(command.peer, "peer " + name + " was fenced");
  if (found != peers_.end())
    peers_.erase(found);
  events_.fenced(command.peer);
}

void local_copier::handle(local_command::arrival& command) {
  if (peers_.contains(command.from))
    events_.arrived(command.from, command.immediate);
}

void local_copier::step() {
  auto job = std::move(jobs_.front());
  jobs_.pop_front();
  auto result = status{};
  if (advance(*job, result))
    books_.close(events_, job->work, result, job->done, false);
  else
    jobs_.push_back(std::move(job));
}

bool local_copier::advance(local_job& job, status& result) {
  if (job.work.peer != self_peer) {
    const auto& to = peers_.at(job.work.peer);
    if (to.node)
      return advance_at(*to.node, to.there, job, result);
    result = {errc::peer_lost, fmt::format("transfer {}: nobody is at the address of peer '{}'", job.work.id, to.name)};
    return true;
  }
  auto over = advance_at(own_, self_peer, job, result);
  if (over && result.ok() && job.work.immediate)
    events_.arrived(self_peer, *job.work.immediate);
  return over;
}

bool local_copier::advance_at(local_node& node, peer_id there, local_job& job, status& result) {
  const auto& work = job.work;
  auto lock = std::lock_guard{node.gate};
  if (!node.alive || (there != self_peer && !node.open_peers.contains(there))) {
    result = {errc::peer_lost,
              fmt::format("transfer {}: peer '{}' closed its side", work.id, peers_.at(work.peer).name)};
    return true;
  }
  auto region = node.regions.find(work.remote.key);
  if (region == node.regions.end()) {
    result = {errc::io_error,
              fmt::format("transfer {}: peer {} has no region with key {:#x}; it may have been deregistered", work.id,
                          work.peer, work.remote.key)};
    return true;
  }
  if (region->second.size() < work.remote.bytes) {
    result = {errc::io_error, fmt::format("transfer {}: the remote region has {} bytes, not {}", work.id,
                                          region->second.size(), work.remote.bytes)};
    return true;
  }
  if (!job.cursor.done()) {
    auto part = job.cursor.next(piece_bytes_max);
    auto* here = job.local + part.local_offset;
    auto* far = region->second.data() + part.remote_offset;
    if (work.op == direction::write)
      copy_bytes(far, here, part.bytes);
    else
      copy_bytes(here, far, part.bytes);
    job.done += part.bytes;
  }
  if (!job.cursor.done())
    return false;
  // Within the gate, so that an arrival never follows the fence that forbids it.
  if (work.immediate && work.peer != self_peer)
    node.mail.push(local_command::arrival{there, *work.immediate});
  return true;
}

void local_copier::finish_peer(peer_id peer, const std::string& why) {
  auto ended = std::deque<std::unique_ptr<local_job>>{};
  if (auto found = peers_.find(peer); found != peers_.end())
    ended = std::exchange(found->second.waiting, {});
  auto keep =
    std::stable_partition(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->work.peer != peer; });
  std::move(keep, jobs_.end(), std::back_inserter(ended));
  jobs_.erase(keep, jobs_.end());
  for (auto& job : ended)
    books_.close(events_, job->work, {errc::peer_lost, fmt::format("transfer {}: {}", job->work.id, why)}, job->done,
                 false);
}

} // namespace perigee::transport
