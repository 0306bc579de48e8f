// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/client_messages.hpp"
#include "apps/gateway/backend.hpp"
#include "apps/perigee/request_log.hpp"

#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

namespace perigee::cli {

/// The prompts of one gateway that its session works on: turns what the gateway asks into messages, and the session's
/// answers into calls of sinks. Pure but for these calls; one thread at a time.
class request_table {
public:
  /// What the session is to be sent. `handle` is new.
  open_request open(gateway::request_handle handle, gateway::completion_spec spec,
                    std::shared_ptr<gateway::completion_sink> sink);

  /// What the session is to be sent, if it still works on it. The sink is not called again.
  std::optional<close_request> cancel(gateway::request_handle handle, gateway::cancel_reason reason);

  /// While paused, everything but an error is kept back; at most the request's own tokens.
  void set_paused(gateway::request_handle handle, bool paused);

  void on(const client_opened& news);
  void on(const client_text& news);
  void on(const client_finish& news);
  void on(const client_end& news);
  void on(const client_error& news);

  /// Ends what the session owed an answer: it is gone.
  void fail_all(const gateway::api_error& why);

  size_t size() const {
    return entries_.size();
  }
  request_log& log() {
    return log_;
  }

private:
  using event = std::variant<client_text, client_finish, client_end>;

  struct entry {
    std::shared_ptr<gateway::completion_sink> sink;
    std::string id;
    uint32_t prompt_tokens = 0;
    std::vector<uint32_t> tokens; ///< delivered, by choice
    uint64_t record = 0;          ///< in the log
    bool paused = false;
    bool ended = false;      ///< the session is done with it
    std::vector<event> held; ///< while paused, in order
  };
  using entry_map = std::map<gateway::request_handle, entry>;

  void receive(event news, uint64_t client);
  void deliver(entry& to, const client_text& news);
  void deliver(entry& to, const client_finish& news);
  void deliver(entry& to, const client_end& news);
  static void hold(entry& at, event news);

  entry_map entries_;
  request_log log_;
};

} // namespace perigee::cli
