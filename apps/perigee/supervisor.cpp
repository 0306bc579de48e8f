// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/supervisor.hpp"

#include "apps/perigee/http_get.hpp"
#include "apps/perigee/stop_watcher.hpp"
#include "apps/perigee/usage.hpp"
#include "transport/base/status.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace perigee::cli {

namespace {

using namespace std::chrono_literals;
using actors::node_role;

constexpr auto health_interval = 200ms;
constexpr auto health_timeout = 500ms;

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

std::string roles_of(const actors::node_config& node) {
  auto out = std::string{};
  for (auto what : node.roles) {
    out += (out.empty() ? "" : ", ") + std::string{to_string(what)};
    if (node.count(what) > 1)
      out += fmt::format(" x {}", node.count(what));
  }
  return out;
}

std::string cause_of_death(int wait_status) {
  if (WIFSIGNALED(wait_status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
  return fmt::format("exit code {}", WEXITSTATUS(wait_status));
}

double seconds(supervisor::clock::duration span) {
  return std::chrono::duration<double>(span).count();
}

bool answers_health(const actors::node_config& node) {
  try {
    return http_get({node.host, node.http, "/health"}, health_timeout).status == 200;
  } catch (const failure&) {
    return false;
  }
}

} // namespace

supervisor::supervisor(const actors::cluster_config& config, options how)
  : config_(config), how_(std::move(how)), signals_(signal_source(true)) {
  for (const auto& node : config_.nodes) {
    auto& one = members_.emplace_back();
    one.node = &node;
    one.via = &how_.launcher_for(node.host);
    one.start_at = clock::now();
  }
}

supervisor::~supervisor() {
  kill_all();
  for (auto& one : members_)
    if (one.process.pid > 0)
      ::waitpid(one.process.pid, nullptr, 0);
}

int supervisor::run() {
  while (!(draining_ && all_ended())) {
    auto now = clock::now();
    start_due(now);
    check_health();
    if (now >= kill_at_) {
      say(fmt::format("perigee: not drained after {} s; killing what is left", how_.grace.count()));
      exit_code_ = std::max(exit_code_, exit_failure);
      kill_all();
      kill_at_ = clock::time_point::max();
    }
    wait(next_deadline(now));
  }
  return exit_code_;
}

void supervisor::start_due(clock::time_point now) {
  for (auto& one : members_)
    if (!draining_ && one.now == state::waiting && now >= one.start_at)
      start(one, now);
}

void supervisor::start(member& one, clock::time_point now) {
  one.process =
    one.via->start({one.node->host, {"node", how_.config_path, "--name", one.node->name, "--drain-on-eof"}});
  one.now = state::starting;
  one.started_at = now;
  one.restarts.started(now);
  one.line.clear();
}

supervisor::clock::time_point supervisor::next_deadline(clock::time_point now) const {
  auto next = std::min(kill_at_, now + 10s);
  for (const auto& one : members_) {
    if (one.now == state::waiting && !draining_)
      next = std::min(next, one.start_at);
    if (one.now == state::ready && !draining_)
      next = std::min(next, now + health_interval);
  }
  return next;
}

void supervisor::wait(clock::time_point until) {
  auto watched = std::vector<pollfd>{{signals_.get(), POLLIN, 0}};
  for (const auto& one : members_)
    watched.push_back({one.process.output.get(), POLLIN, 0}); // -1 is skipped
  auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now());
  if (::poll(watched.data(), watched.size(), static_cast<int>(std::max(left, 0ms).count())) <= 0)
    return;
  for (size_t i = 0; i < members_.size(); ++i)
    if (watched[i + 1].revents != 0)
      read_output(members_[i]);
  if (watched[0].revents != 0)
    on_signals();
}

void supervisor::on_signals() {
  auto info = signalfd_siginfo{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD)
      continue;
    if (draining_) {
      say("perigee: stopping at once");
      exit_code_ = std::max(exit_code_, exit_failure);
      kill_all();
    } else {
      say("perigee: draining; once more to stop at once");
      drain(exit_success);
    }
  }
  reap(); // several deaths may come as one SIGCHLD
}

void supervisor::read_output(member& one) {
  char buffer[16'384];
  for (;;) {
    auto got = ::read(one.process.output.get(), buffer, sizeof buffer);
    if (got == 0)
      one.process.output.reset();
    if (got <= 0)
      return;
    for (auto c : std::string_view{buffer, static_cast<size_t>(got)}) {
      if (c == '\n')
        on_line(one, std::exchange(one.line, {}));
      else
        one.line += c;
    }
  }
}

void supervisor::on_line(member& one, const std::string& line) {
  if (line != ready_line(one.node->name))
    return say(fmt::format("{} | {}", one.node->name, line));
  if (one.now == state::starting)
    one.now = state::ready;
}

void supervisor::check_health() {
  for (auto& one : members_)
    if (one.now == state::ready && (one.node->count(node_role::gateway) == 0 || answers_health(*one.node)))
      announce(one);
}

void supervisor::announce(member& one) {
  one.now = state::healthy;
  one.was_healthy = true;
  say(fmt::format("perigee: node {} healthy after {:.1f} s ({}; pid {})", one.node->name,
                  seconds(clock::now() - one.started_at), roles_of(*one.node), one.process.pid));
  auto all = std::ranges::all_of(members_, [](const member& m) { return m.now == state::healthy; });
  if (!all || std::exchange(announced_all_, true))
    return;
  for (const auto& node : config_.nodes)
    if (node.count(node_role::gateway) > 0)
      say(fmt::format("perigee: cluster ready: http://{}:{}", node.host, node.http));
}

void supervisor::reap() {
  for (auto& one : members_) {
    auto status = 0;
    if (one.process.pid <= 0 || ::waitpid(one.process.pid, &status, WNOHANG) != one.process.pid)
      continue;
    read_output(one); // its last words
    if (!one.line.empty())
      on_line(one, std::exchange(one.line, {}));
    one.process = child{};
    on_death(one, status);
  }
}

void supervisor::on_death(member& one, int wait_status) {
  auto now = clock::now();
  auto cause = cause_of_death(wait_status);
  one.now = state::ended;
  if (draining_) {
    auto clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
    exit_code_ = std::max(exit_code_, clean ? exit_success : exit_failure);
    say(fmt::format("perigee: node {} {}", one.node->name, clean ? "drained" : "ended: " + cause));
    return release_drained();
  }
  auto code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
  if (!one.was_healthy && (code == exit_usage || code == 127)) {
    say(fmt::format("perigee: node {} cannot start ({}); ending all nodes", one.node->name, cause));
    return drain(code == exit_usage ? exit_usage : exit_failure);
  }
  one.now = state::waiting;
  one.start_at = one.restarts.next_start(now);
  say(fmt::format("perigee: node {} died ({}); starting it again in {:.2f} s", one.node->name, cause,
                  seconds(one.start_at - now)));
}

void supervisor::drain(int exit_code) {
  draining_ = true;
  exit_code_ = std::max(exit_code_, exit_code);
  kill_at_ = clock::now() + how_.grace;
  for (auto& one : members_)
    if (one.now == state::waiting)
      one.now = state::ended;
  release_drained();
}

/// Asks nodes with a gateway to drain, and once these ended, all others.
void supervisor::release_drained() {
  auto is_front = [](const member& one) { return one.node->count(node_role::gateway) > 0; };
  auto fronts_ended =
    std::ranges::all_of(members_, [&](const member& one) { return !is_front(one) || one.now == state::ended; });
  for (auto& one : members_)
    if (is_front(one) || fronts_ended)
      one.process.input.reset();
}

void supervisor::kill_all() {
  for (auto& one : members_)
    if (one.process.pid > 0)
      ::kill(-one.process.pid, SIGKILL);
}

bool supervisor::all_ended() const {
  return std::ranges::all_of(members_, [](const member& one) { return one.now == state::ended; });
}

} // namespace perigee::cli
