// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/node/cluster_config.hpp"

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

namespace perigee::cli {

/// Where a node writes its news for people: a line each, with the time (UTC) and the node's name. Any thread.
class news_log {
public:
  /// Throws `usage_error` if the file cannot be written.
  news_log(const actors::log_config& how, std::string node);

  void write(const std::string& news);

private:
  struct close_file {
    void operator()(std::FILE* file) const noexcept {
      std::fclose(file);
    }
  };

  bool quiet_;
  std::string node_;
  std::unique_ptr<std::FILE, close_file> file_; ///< null: standard error
  std::mutex mutex_;
};

} // namespace perigee::cli
