// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"

#include <mutex>
#include <string>
#include <vector>

namespace perigee::gateway {

/// Writes every call down as a line: "text 0 3 Hello", "finish 0 stop", "end 5 3 2", "error 429 ...".
class recording_sink : public completion_sink {
public:
  void on_text(uint32_t choice, std::string text, uint32_t tokens) override {
    add("text " + std::to_string(choice) + ' ' + std::to_string(tokens) + ' ' + text);
  }
  void on_finish(uint32_t choice, finish_reason reason) override {
    add("finish " + std::to_string(choice) + (reason == finish_reason::stop ? " stop" : " length"));
  }
  void on_end(const completion_summary& summary) override {
    add("end " + std::to_string(summary.prompt_tokens) + ' ' + std::to_string(summary.completion_tokens) + ' '
        + std::to_string(summary.cached_tokens));
  }
  void on_error(api_error error) override {
    add("error " + std::to_string(error.http_status) + ' ' + error.message);
  }

  std::vector<std::string> calls() const {
    auto lock = std::lock_guard{mutex_};
    return calls_;
  }

private:
  void add(std::string line) {
    auto lock = std::lock_guard{mutex_};
    calls_.push_back(std::move(line));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
};

} // namespace perigee::gateway
