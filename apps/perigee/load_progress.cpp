// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/load_progress.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace perigee::cli {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto patience = 500ms; // of somebody who sees nothing
constexpr auto between_changes = 100ms;
constexpr auto between_news = 2s;

} // namespace

load_progress::load_progress(std::function<void(const std::string&, uint32_t)> listener,
                             std::function<void(const std::string&)> news, bool terminal)
  : listener_(std::move(listener)), news_(std::move(news)), terminal_(terminal),
    next_(steady_clock::now() + (terminal ? steady_clock::duration{patience} : between_news)) {}

load_progress::~load_progress() {
  if (line_stands_)
    std::fputs("\r\x1b[K", stderr);
}

void load_progress::on(const std::string& what, double share) {
  auto percent = static_cast<uint32_t>(100 * share);
  auto detail = fmt::format("{}, {} %", what, percent);
  listener_(detail, percent);
  auto lock = std::lock_guard{mutex_};
  auto now = steady_clock::now();
  if (now < next_)
    return;
  next_ = now + (terminal_ ? steady_clock::duration{between_changes} : between_news);
  if (!terminal_)
    return news_(detail);
  std::fputs(("\rperigee: " + detail + "\x1b[K").c_str(), stderr);
  line_stands_ = true;
}

} // namespace perigee::cli
