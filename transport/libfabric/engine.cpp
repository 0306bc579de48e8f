// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/engine.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

namespace perigee::transport {

namespace {

using namespace std::chrono_literals;

// A transfer of one piece takes about this long: polling bridges it, a sleep would add a wake-up to each.
constexpr auto polled_before_armed = 50us;
// While some peers are polled, the descriptors of the others are looked at this often.
constexpr auto armed_check = 50us;
// Nothing but lost wake-ups of a provider makes these matter: the descriptors end every wait.
constexpr auto active_wait_max = 1ms;
constexpr auto stalled_wait_max = 10ms;
constexpr auto idle_wait_max = 100ms;
// A peer without a descriptor (shared memory) is looked at this often while idle.
constexpr auto blind_wait_max = 1ms;

} // namespace

engine::engine(const libfabric_options& options, fabric_events& events, ledger& books)
  : options_(options), events_(events), books_(books), domain_(options), description_(domain_.describe()),
    thread_([this] { run(); }) {}

engine::~engine() {
  mail_.push(stop{});
  thread_.join();
}

void engine::run_there(std::function<void()> work) {
  auto task = std::packaged_task<void()>{std::move(work)};
  auto result = task.get_future();
  mail_.push(call{&task});
  result.get();
}

engine::region_view engine::register_memory(region_id id, std::span<std::byte> memory) {
  auto view = region_view{};
  run_there([&] {
    auto made = domain_.register_memory(memory);
    view = {memory, made.descriptor, made.remote};
    regions_.emplace(id, std::move(made));
  });
  return view;
}

void engine::deregister(region_id id) {
  run_there([&] { regions_.erase(id); });
}

std::string engine::open_peer(peer_id id, std::string name) {
  auto address = std::string{};
  run_there([&] {
    auto link = std::make_unique<peer_link>(domain_, options_, events_, books_, id, std::move(name));
    address = link->address();
    peers_.emplace(id, watched{std::move(link), false, peer_link::clock::now()});
  });
  return address;
}

void engine::connect(peer_id id, std::string address) {
  run_there([&] {
    auto& peer = peers_.at(id);
    peer.link->connect(address);
    wake(peer);
  });
}

void engine::post(std::unique_ptr<provider_job> job) {
  mail_.push(std::move(job));
}

void engine::refuse(uint64_t id, status why) {
  mail_.push(refusal{id, std::move(why)});
}

void engine::cancel(uint64_t id) {
  mail_.push(cancellation{id});
}

void engine::fence(peer_id id) {
  mail_.push(fencing{id});
}

void engine::run() {
  using clock = peer_link::clock;
  auto last_check = clock::now();
  while (handle(mail_.take())) {
    auto now = clock::now();
    if (look(now)) {
      wait(quiet_max(now));
      last_check = clock::now();
    } else if (now - last_check > armed_check) {
      wait(0ms);
      last_check = now;
    } else {
      sched_yield();
    }
  }
  for (auto& entry : peers_)
    entry.second.link->close("the fabric was shut down");
  peers_.clear();
  regions_.clear();
}

bool engine::look(peer_link::clock::time_point now) {
  auto all = now - last_full_look_ > idle_wait_max;
  if (all)
    last_full_look_ = now;
  auto quiet = true;
  for (auto& [id, peer] : peers_) {
    if (peer.armed && !all)
      continue;
    if (peer.link->progress(now))
      wake(peer);
    else if (now - peer.last_busy > polled_before_armed)
      peer.armed = arm(peer);
    else
      peer.armed = false;
    quiet &= peer.armed;
  }
  return quiet;
}

bool engine::arm(const watched& peer) const {
  const auto* open = peer.link->open_endpoint();
  if (!open || open->wait_fd() < 0)
    return true;
  // Not every state of a provider shows in its descriptor: it is asked whether it does now.
  auto* object = open->wait_object();
  return fi_trywait(domain_.fabric(), &object, 1) == 0;
}

peer_link::clock::duration engine::quiet_max(peer_link::clock::time_point now) const {
  auto limit = peer_link::clock::duration{idle_wait_max};
  auto at_most = [&](peer_link::clock::duration other) { limit = std::min(limit, other); };
  for (const auto& entry : peers_) {
    const auto& link = *entry.second.link;
    if (link.open_endpoint() && link.open_endpoint()->wait_fd() < 0)
      at_most(blind_wait_max);
    if (link.active())
      at_most(link.stalled_since() && now - *link.stalled_since() > idle_wait_max ? stalled_wait_max : active_wait_max);
  }
  return limit;
}

void engine::wait(peer_link::clock::duration limit) {
  waits_.assign(1, {mail_.wait_fd(), POLLIN, 0});
  waiting_.assign(1, nullptr);
  for (auto& entry : peers_) {
    const auto* open = entry.second.link->open_endpoint();
    if (entry.second.armed && open && open->wait_fd() >= 0) {
      waits_.push_back({open->wait_fd(), POLLIN, 0});
      waiting_.push_back(&entry.second);
    }
  }
  auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  auto ready = poll(waits_.data(), waits_.size(), static_cast<int>(timeout));
  for (auto i = size_t{1}; i < waits_.size(); ++i)
    if (waits_[i].revents != 0)
      wake(*waiting_[i]);
  if (ready > 0 || limit == 0ms)
    return;
  // Nobody asked; those that should have are looked at once, and armed again.
  for (auto& entry : peers_)
    if (const auto* open = entry.second.link->open_endpoint();
        entry.second.link->active() || (open && open->wait_fd() < 0))
      entry.second.armed = false;
}

void engine::wake(watched& peer) {
  peer.armed = false;
  peer.last_busy = peer_link::clock::now();
}

bool engine::handle(std::deque<mail> commands) {
  auto go_on = true;
  for (auto& command : commands)
    std::visit(
      [&](auto& known) {
        if constexpr (std::is_same_v<std::decay_t<decltype(known)>, stop>)
          go_on = false;
        else
          handle(known);
      },
      command);
  return go_on;
}

void engine::handle(call& command) {
  (*command.task)();
}

void engine::handle(std::unique_ptr<provider_job>& job) {
  // A post never follows its peer's fence in the box: the owner refuses it.
  auto& peer = peers_.at(job->work.peer);
  peer.link->post(std::move(job));
  wake(peer);
}

void engine::handle(refusal& command) {
  books_.refuse(events_, command.id, command.why);
}

void engine::handle(cancellation& command) {
  for (auto& entry : peers_)
    if (entry.second.link->cancel(command.id))
      return;
}

void engine::handle(fencing& command) {
  if (auto found = peers_.find(command.id); found != peers_.end()) {
    auto& link = *found->second.link;
    link.close(fmt::format("peer '{}' was fenced", link.name()));
    peers_.erase(found);
  }
  events_.fenced(command.id);
}

} // namespace perigee::transport
