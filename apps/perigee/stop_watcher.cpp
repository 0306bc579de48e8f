// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/stop_watcher.hpp"

#include "apps/perigee/usage.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace perigee::cli {

namespace {

sigset_t stop_signals(bool children) {
  auto set = sigset_t{};
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGTERM);
  if (children)
    ::sigaddset(&set, SIGCHLD);
  return set;
}

} // namespace

void hold_stop_signals() {
  // A shell starts background jobs with SIGINT ignored, and an ignored signal does not wait.
  for (auto signal : {SIGINT, SIGTERM})
    std::signal(signal, SIG_DFL);
  auto set = stop_signals(false);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

unique_fd signal_source(bool children) {
  hold_stop_signals();
  auto set = stop_signals(children);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return unique_fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
}

stop_watcher::stop_watcher(stop_options how, std::function<void()> drain)
  : how_(how), drain_(std::move(drain)), signals_(signal_source(false)), wake_(::eventfd(0, EFD_CLOEXEC)),
    thread_([this] { watch(); }) {}

stop_watcher::~stop_watcher() {
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void stop_watcher::watch() {
  if (!wait_for_wish(false))
    return;
  drain_();
  if (!wait_for_wish(true))
    return;
  std::fputs("perigee: stopped before the drain ended\n", stderr);
  std::_Exit(exit_failure);
}

/// False if the watcher is to end.
bool stop_watcher::wait_for_wish(bool draining) {
  // While draining, the end of input is old news and would fire for ever.
  auto input = how_.end_of_input_too && !draining ? STDIN_FILENO : -1;
  auto limit = how_.end_of_input_too && draining ? static_cast<int>(std::chrono::milliseconds{how_.grace}.count()) : -1;
  pollfd watched[] = {{wake_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {input, POLLIN, 0}};
  for (;;) {
    if (::poll(watched, 3, limit) == 0)
      return true;
    if (watched[0].revents != 0)
      return false;
    auto signal = signalfd_siginfo{};
    if (watched[1].revents != 0 && ::read(signals_.get(), &signal, sizeof signal) > 0)
      return true;
    char ignored[256];
    if (watched[2].revents != 0 && ::read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
      return true;
  }
}

} // namespace perigee::cli
