// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/event_inbox.hpp"
#include "apps/gateway/exchange.hpp"
#include "apps/gateway/gateway_metrics.hpp"
#include "apps/gateway/prepare.hpp"
#include "apps/gateway/responses.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee::gateway {

/// Runs a function later on a certain thread. Callable from any thread, for as long as anybody holds it.
using post_function = std::function<void(std::function<void()>)>;

/// What completion requests have in common. Lives longer than every job.
struct completion_context {
  const model_facts& model;
  const text_encoder& encoder;
  backend& target;
  gateway_metrics& metrics;
  request_limits limits;
  size_t unread_bytes_max = 0;
  std::chrono::milliseconds slow_client_timeout{0};
  std::chrono::milliseconds request_timeout{0};
  post_function to_gateway; ///< to the thread that owns the connections
  post_function to_worker;  ///< to the thread that parses and tokenizes, so that a long prompt delays no stream
  size_t in_flight = 0;     ///< jobs alive; kept by the jobs
};

/// One request of /v1/completions or /v1/chat/completions from its body to its last byte: parse, prepare, submit, write
/// events, hold the stream while the client does not read, cancel when it is gone. Gateway thread only.
class completion_job : public activity, public std::enable_shared_from_this<completion_job> {
public:
  completion_job(completion_context& context, exchange& where, std::string id);
  ~completion_job() override;

  void start(api_kind kind, http_request request);

  bool needs_client() const override {
    return true;
  }
  void cancelled(cancel_reason reason) override;
  void output_moved() override;
  void tick(clock::time_point now) override;

private:
  /// Token arrivals of one choice.
  struct choice_state {
    std::optional<clock::time_point> last;
    uint32_t tokens = 0;
    bool finished = false;
  };

  void prepared(std::variant<prepared_request, api_error> result);
  void submit(prepared_request request);
  void handle_events();
  void handle(const sink_event& event);
  void on_text(uint32_t choice, const sink_event::text_part& part, clock::time_point at);
  void on_finish(uint32_t choice, finish_reason reason);
  void on_end(size_t prompt, const completion_summary& summary);
  void observe_tokens(choice_state& state, uint32_t tokens, clock::time_point at);
  void fail(const api_error& error, std::string_view reason);
  void send(std::string bytes);
  void open_answer();
  void complete();
  void give_up_on_client();
  void set_paused(bool paused, clock::time_point now);
  void release(cancel_reason reason);

  completion_context& context_;
  exchange* exchange_; ///< null once over
  std::string id_;
  api_kind kind_ = api_kind::completion;
  clock::time_point arrived_;
  clock::time_point deadline_;
  std::shared_ptr<event_inbox> inbox_;
  std::deque<sink_event> backlog_; ///< taken from the inbox, not written while the client does not read
  std::vector<std::optional<request_handle>> handles_; ///< by prompt; empty once it has ended
  std::unique_ptr<answer_writer> writer_;
  bool stream_ = false;
  bool opened_ = false;
  uint32_t choices_per_prompt_ = 1;
  std::vector<choice_state> choices_;
  std::optional<clock::time_point> first_token_;
  size_t prompts_open_ = 0;
  usage_counts usage_;
  std::optional<clock::time_point> paused_since_;
};

} // namespace perigee::gateway
