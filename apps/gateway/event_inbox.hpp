// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"
#include "apps/gateway/exchange.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

namespace perigee::gateway {

/// One call of a sink, on its way to the gateway's thread.
struct sink_event {
  struct text_part {
    std::string text;
    uint32_t tokens = 0;
  };
  size_t prompt = 0;   ///< index of the prompt within its HTTP request
  uint32_t choice = 0; ///< within the prompt; meaningless for `completion_summary` and `api_error`
  std::variant<text_part, finish_reason, completion_summary, api_error> what;
  clock::time_point at{}; ///< when the sink was called
};

/// Where sinks of one HTTP request leave their events. `push` from any thread; `take` and `close` from the gateway's.
/// Events that come while a wake-up is under way share it.
class event_inbox {
public:
  /// `wake` arranges that somebody calls `take` soon; called without locks held, from the pushing thread.
  explicit event_inbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  void push(sink_event event) {
    event.at = clock::now();
    {
      auto lock = std::lock_guard{mutex_};
      if (closed_)
        return;
      events_.push_back(std::move(event));
      if (events_.size() > 1)
        return;
    }
    wake_();
  }

  std::vector<sink_event> take() {
    auto lock = std::lock_guard{mutex_};
    return std::exchange(events_, {});
  }

  /// Later events are dropped.
  void close() {
    auto lock = std::lock_guard{mutex_};
    closed_ = true;
    events_.clear();
  }

private:
  std::mutex mutex_;
  std::vector<sink_event> events_;
  bool closed_ = false;
  std::function<void()> wake_;
};

/// The sink of one prompt.
class inbox_sink : public completion_sink {
public:
  inbox_sink(std::shared_ptr<event_inbox> inbox, size_t prompt) : inbox_(std::move(inbox)), prompt_(prompt) {}

  void on_text(uint32_t choice, std::string text, uint32_t tokens) override {
    inbox_->push({prompt_, choice, sink_event::text_part{std::move(text), tokens}});
  }
  void on_finish(uint32_t choice, finish_reason reason) override {
    inbox_->push({prompt_, choice, reason});
  }
  void on_end(const completion_summary& summary) override {
    inbox_->push({prompt_, 0, summary});
  }
  void on_error(api_error error) override {
    inbox_->push({prompt_, 0, std::move(error)});
  }

private:
  std::shared_ptr<event_inbox> inbox_;
  size_t prompt_;
};

} // namespace perigee::gateway
