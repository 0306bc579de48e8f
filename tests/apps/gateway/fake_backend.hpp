// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace perigee::gateway {

/// What the fake backend does with one prompt: so many tokens of the same text for every choice, then an end.
struct completion_plan {
  std::string piece = "x";
  uint32_t tokens = 3;
  finish_reason reason = finish_reason::stop;
  uint32_t cached_tokens = 0;
  std::optional<api_error> error{};  ///< instead of the end, after the tokens
  bool hold_end = false;             ///< the end comes only after `release`
  std::chrono::microseconds pace{0}; ///< at least this long between two tokens
};

/// A backend that follows a plan for each prompt, on a thread of its own, and remembers what it was asked.
class fake_backend : public backend {
public:
  using planner = std::function<completion_plan(const completion_spec&)>;

  explicit fake_backend(planner plan = [](const completion_spec&) { return completion_plan{}; });
  ~fake_backend() override;

  request_handle submit(completion_spec spec, std::shared_ptr<completion_sink> sink) override;
  void cancel(request_handle handle, cancel_reason reason) override;
  void set_paused(request_handle handle, bool paused) override;
  backend_health health() const override;
  void cluster_json(std::function<void(std::string)> reply) override;
  void request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) override;
  void collect(std::function<void(std::vector<metric_family>)> reply) override;

  /// Lets all held prompts end.
  void release();

  void set_ready(bool ready);
  void set_loading(std::optional<uint32_t> percent);
  /// Questions (cluster, record, metrics) get no answer from now on.
  void fall_silent();

  std::vector<completion_spec> submitted() const;
  std::vector<cancel_reason> cancels() const;
  /// The answers to `set_paused` so far, in order.
  std::vector<bool> pauses() const;
  size_t running() const;
  uint64_t pieces_sent() const;

private:
  struct prompt {
    completion_spec spec;
    std::shared_ptr<completion_sink> sink;
    completion_plan plan;
    uint32_t sent = 0;
    bool paused = false;
  };

  void run();
  bool ready_to_go_on(const prompt& entry) const;
  /// One token of every choice, or the end; true if that was the end.
  static bool step(prompt& entry);

  planner plan_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<request_handle, std::shared_ptr<prompt>> prompts_;
  request_handle last_handle_ = 0;
  std::vector<completion_spec> submitted_;
  std::vector<cancel_reason> cancels_;
  std::vector<bool> pauses_;
  uint64_t pieces_sent_ = 0;
  bool released_ = false;
  bool ready_ = true;
  std::optional<uint32_t> loading_;
  bool silent_ = false;
  bool stopping_ = false;
  std::vector<std::function<void()>> unanswered_; ///< keeps callbacks alive, as a slow backend would
  std::thread thread_;
};

/// One token per byte; ids 256 (begin) and 257.. for special tokens, spelled <s>, <|im_start|>, <|im_end|>.
class byte_encoder : public text_encoder {
public:
  static constexpr uint32_t vocabulary = 260;
  std::vector<token_id> encode(std::string_view text, bool add_bos, bool parse_special) const override;
};

model_facts small_model();

} // namespace perigee::gateway
