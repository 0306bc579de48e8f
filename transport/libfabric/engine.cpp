// SPDX-License-Identifier: Apache-2.0
#include "transport/libfabric/engine.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>

#include <chrono>

namespace perigee::transport {

namespace {

using namespace std::chrono_literals;

// A transfer of one piece takes about this long: polling bridges it, a sleep would add a wake-up to each.
constexpr auto polled_before_sleep = 50us;
// Nothing but lost wake-ups of a provider makes these matter: the queues' descriptors end every sleep.
constexpr auto active_sleep_max = 1ms;
constexpr auto stalled_sleep_max = 10ms;
constexpr auto idle_sleep_max = 100ms;
// A provider without descriptors is looked at this often while idle.
constexpr auto blind_sleep_max = 1ms;

} // namespace

engine::engine(const libfabric_options& options, fabric_events& events, ledger& books)
  : options_(options), events_(events), books_(books), domain_(options), description_(domain_.describe()), thread_([this] { run(); }) {}

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
    peers_.emplace(id, std::move(link));
  });
  return address;
}

void engine::connect(peer_id id, std::string address) {
  run_there([&] { peers_.at(id)->connect(address); });
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
  auto last_busy = clock::now();
  for (;;) {
    auto commands = mail_.take();
    auto busy = !commands.empty();
    if (!handle(std::move(commands)))
      break;
    auto now = clock::now();
    for (auto& entry : peers_)
      busy |= entry.second->progress(now);
    if (busy)
      last_busy = now;
    else if (now - last_busy < polled_before_sleep)
      sched_yield();
    else if (sleep(now))
      last_busy = clock::now();
  }
  for (auto& entry : peers_)
    entry.second->close("the fabric was shut down");
  peers_.clear();
  regions_.clear();
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
  peers_.at(job->work.peer)->post(std::move(job));
}

void engine::handle(refusal& command) {
  books_.refuse(events_, command.id, command.why);
}

void engine::handle(cancellation& command) {
  for (auto& entry : peers_)
    if (entry.second->cancel(command.id))
      return;
}

void engine::handle(fencing& command) {
  if (auto found = peers_.find(command.id); found != peers_.end()) {
    found->second->close(fmt::format("peer '{}' was fenced", found->second->name()));
    peers_.erase(found);
  }
  events_.fenced(command.id);
}

bool engine::sleep(peer_link::clock::time_point now) {
  auto limit = peer_link::clock::duration{idle_sleep_max};
  auto queues = std::vector<fid*>{};
  auto waits = std::vector<pollfd>{{mail_.wait_fd(), POLLIN, 0}};
  for (const auto& entry : peers_) {
    const auto& peer = *entry.second;
    const auto* open = peer.open_endpoint();
    if (!open)
      continue;
    if (open->wait_fd() >= 0) {
      queues.push_back(open->wait_object());
      waits.push_back({open->wait_fd(), POLLIN, 0});
    } else {
      limit = std::min<peer_link::clock::duration>(limit, blind_sleep_max);
    }
    if (peer.active()) {
      auto stalled = peer.stalled_since() && now - *peer.stalled_since() > 100 * active_sleep_max;
      limit = std::min<peer_link::clock::duration>(limit, stalled ? stalled_sleep_max : active_sleep_max);
    }
  }
  // Not every state of a provider shows in its descriptor: it is asked whether sleeping is safe.
  if (!queues.empty() && fi_trywait(domain_.fabric(), queues.data(), static_cast<int>(queues.size())) != 0)
    return false;
  auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  return poll(waits.data(), waits.size(), static_cast<int>(timeout)) > 0;
}

} // namespace perigee::transport
