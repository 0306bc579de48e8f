// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/peer_link.hpp"

#include <fmt/format.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cassert>

namespace perigee::transport {

namespace {

// A peer that keeps writing must not keep its endpoint open.
constexpr auto drain_rounds_max = 64;

} // namespace

peer_link::peer_link(domain& owner, const libfabric_options& options, fabric_events& events, ledger& books, peer_id id,
                     std::string name)
  : domain_(owner), options_(options), events_(events), books_(books), id_(id), name_(std::move(name)),
    endpoint_(std::make_unique<endpoint>(owner)) {}

void peer_link::connect(std::string_view address) {
  if (endpoint_)
    endpoint_->connect(address);
}

void peer_link::post(std::unique_ptr<provider_job> job) {
  auto refuse = [&](errc code, std::string_view why) {
    books_.close(events_, job->work, {code, fmt::format("transfer {}: {}", job->work.id, why)}, 0, true);
  };
  if (!endpoint_)
    return refuse(errc::peer_lost, closed_because_);
  auto* raw = job.get();
  if (jobs_.contains(job->work.id))
    return refuse(errc::invalid_argument, "another transfer with this id is in flight");
  jobs_.emplace(raw->work.id, std::move(job));
  ready_.push_back(raw);
}

bool peer_link::cancel(uint64_t id) {
  auto found = jobs_.find(id);
  if (found == jobs_.end())
    return false;
  auto& job = *found->second;
  std::erase(ready_, &job);
  auto sent_all = job.posted;
  job.posted = true;
  if (!sent_all && job.result.ok())
    job.result = {errc::cancelled, fmt::format("transfer {} to peer '{}' was cancelled", id, name_)};
  if (job.in_flight == 0)
    finish(job);
  return true;
}

bool peer_link::progress(clock::time_point now) {
  if (!endpoint_)
    return false;
  auto busy = poll_once();
  if (endpoint_->connected() && !broken_)
    busy |= post_ready(now);
  if (!broken_ && stalled_since_ && now - *stalled_since_ > std::chrono::milliseconds{options_.connect_ms_max})
    broken_ = status{errc::peer_lost, fmt::format("no transfer was taken for {} ms", options_.connect_ms_max)};
  if (broken_) {
    close(fmt::format("peer '{}': {}; its endpoint was closed", name_, broken_->context));
    return true;
  }
  return busy;
}

bool peer_link::poll_once() {
  polled_.clear();
  if (endpoint_->poll(polled_) == 0)
    return false;
  for (const auto& entry : polled_)
    handle(entry);
  return true;
}

void peer_link::handle(const completion& entry) {
  if (entry.immediate)
    events_.arrived(id_, *entry.immediate);
  if (!entry.result.ok() && !broken_)
    broken_ = entry.result;
  if (!entry.done)
    return;
  auto& op = *entry.done;
  auto& job = *static_cast<provider_job*>(op.owner);
  --pieces_in_flight_;
  bytes_in_flight_ -= op.bytes;
  --job.in_flight;
  if (entry.result.ok())
    job.done += op.bytes;
  else if (job.result.ok())
    job.result = {entry.result.code,
                  fmt::format("transfer {} with peer '{}': {}", job.work.id, name_, entry.result.context)};
  free_.push_back(&op);
  if (job.in_flight > 0)
    return;
  if (job.posted)
    finish(job);
  else if (std::find(ready_.begin(), ready_.end(), &job) == ready_.end())
    ready_.push_front(&job); // its immediate waited for its pieces
}

bool peer_link::post_ready(clock::time_point now) {
  auto busy = false;
  while (!ready_.empty() && pieces_in_flight_ < options_.window_pieces && bytes_in_flight_ < options_.window_bytes) {
    auto& job = *ready_.front();
    if (!job.next && !job.cursor.done())
      job.next = job.cursor.next(options_.piece_bytes_max);
    // The immediate travels alone, after all bytes: a target that closes an endpoint in the middle of a write which
    // carries one crashes in tcp;ofi_rxm 1.17 (the provider reports that write with no context and then follows it).
    auto with_immediate = !job.next && job.work.immediate;
    if (!job.next && !with_immediate) { // nothing to move at all
      ready_.pop_front();
      finish(job);
      busy = true;
      continue;
    }
    if (with_immediate && job.in_flight > 0 && !domain_.ordered_writes()) {
      ready_.pop_front(); // until its pieces were delivered
      continue;
    }
    auto result = post_piece(job, with_immediate);
    if (result == -FI_EAGAIN) {
      // With nothing in flight only a missing connection explains this. A lost one must not be made anew behind our
      // back: at the same address may be another by now, who has fenced us or never knew us.
      if (pieces_in_flight_ == 0 && was_connected_)
        broken_ = status{errc::peer_lost, "the connection was lost"};
      else if (pieces_in_flight_ == 0 && !stalled_since_)
        stalled_since_ = now;
      return busy;
    }
    stalled_since_.reset();
    if (result != 0) {
      auto error = static_cast<int>(-result);
      broken_ = status{fi_errc(error), fi_strerror(error)};
      job.result = {broken_->code, fmt::format("transfer {} with peer '{}': {}", job.work.id, name_, broken_->context)};
      return true;
    }
    busy = true;
    was_connected_ = true;
    if (with_immediate || (job.cursor.done() && !job.work.immediate)) {
      job.posted = true;
      ready_.pop_front();
    }
  }
  return busy;
}

long peer_link::post_piece(provider_job& job, bool with_immediate) {
  if (free_.empty())
    free_.push_back(&operations_.emplace_back());
  auto& op = *free_.back();
  auto part = job.next.value_or(piece{});
  op.owner = &job;
  op.bytes = part.bytes;
  auto* here = job.local + part.local_offset;
  auto there = job.work.remote.base + part.remote_offset;
  auto result = job.work.op == direction::write ? endpoint_->write(op, here, job.descriptor, there, job.work.remote.key,
                                                                   with_immediate ? job.work.immediate : std::nullopt)
                                                : endpoint_->read(op, here, job.descriptor, there, job.work.remote.key);
  if (result != 0)
    return result;
  free_.pop_back();
  job.next.reset();
  ++job.in_flight;
  ++pieces_in_flight_;
  bytes_in_flight_ += part.bytes;
  return 0;
}

void peer_link::close(const std::string& why) {
  if (!endpoint_)
    return;
  // What is known already counts: pieces that ended, and immediates of writes that are complete.
  for (auto rounds = 0; rounds < drain_rounds_max && poll_once(); ++rounds) {
  }
  endpoint_.reset();
  closed_because_ = why;
  ready_.clear();
  for (auto& entry : std::exchange(jobs_, {})) {
    auto& job = *entry.second;
    if (job.result.ok())
      job.result = {errc::peer_lost, fmt::format("transfer {}: {}", job.work.id, why)};
    books_.close(events_, job.work, job.result, job.done, true);
  }
  bytes_in_flight_ = 0;
  pieces_in_flight_ = 0;
  stalled_since_.reset();
}

void peer_link::finish(provider_job& job) {
  auto node = jobs_.extract(job.work.id);
  assert(!node.empty());
  books_.close(events_, job.work, job.result, job.done, true);
}

} // namespace perigee::transport
