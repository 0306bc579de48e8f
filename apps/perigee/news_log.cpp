// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/news_log.hpp"

#include "apps/perigee/usage.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace perigee::cli {

news_log::news_log(const actors::log_config& how, std::string node)
  : quiet_(how.level == "quiet"), node_(std::move(node)) {
  if (how.file.empty())
    return;
  file_.reset(std::fopen(how.file.c_str(), "a"));
  if (!file_)
    throw usage_error(fmt::format("perigee.log.file: \"{}\" cannot be written: {}", how.file, std::strerror(errno)));
}

void news_log::write(const std::string& news) {
  if (quiet_)
    return;
  auto now = std::chrono::system_clock::now();
  auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  auto line = fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z {}: {}\n",
                          fmt::gmtime(std::chrono::system_clock::to_time_t(now)), milliseconds, node_, news);
  auto guard = std::lock_guard{mutex_};
  auto* out = file_ ? file_.get() : stderr;
  std::fputs(line.c_str(), out);
  std::fflush(out);
}

} // namespace perigee::cli
