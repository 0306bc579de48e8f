// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/client_messages.hpp"
#include "actors/sim/replay/metrics.hpp"
#include "actors/sim/replay/run_recorder.hpp"
#include "actors/sim/trace/trace.hpp"
#include "actors/sim/world.hpp"

#include <caf/actor.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace perigee::sim {

struct replay_clients_options {
  double speed = 1;            ///< arrivals come so much faster
  bool lengths_known = true;   ///< `max_tokens` is the output length; otherwise what the context leaves
  uint64_t context_tokens = 131'072;
  uint64_t deadline_ns = 0;    ///< 0 for none
  std::vector<std::string> tenants; ///< by request; empty for none
  run_recorder* recorder = nullptr; ///< told when requests open and end; may be null
};

/// The clients of a replay: each request of a trace at its time, in the trace's order. Prompts have the right length and
/// no content; their keys are those of the trace's ids. The sessions get them in turn. Must outlive every run of the world.
class replay_clients final : private alarm_target {
public:
  replay_clients(world& home, std::vector<caf::actor> sessions, std::span<const trace_request> trace,
                 replay_clients_options options);

  /// The first request comes `delay_ns` after now, if it comes at the trace's start.
  void start(uint64_t delay_ns);

  /// Every request has ended.
  bool done() const {
    return ended_ == trace_.size();
  }
  size_t ended() const {
    return ended_;
  }

  const std::vector<request_record>& records() const {
    return records_;
  }
  /// When the last request ended.
  uint64_t last_end_ns() const {
    return last_end_ns_;
  }

  /// Key of a block of a trace.
  static block_key key_of(uint64_t block);

private:
  /// A request whose answer is coming in.
  struct open {
    uint64_t last_ns = 0; ///< of its newest token
    std::vector<uint64_t> gaps;
  };

  void on_alarm(uint64_t what) override;
  void open_next();
  uint64_t due_ns(size_t number) const;
  void on(const client_text& news);
  void on(const client_end& news);
  void on(const client_error& news);
  void end(uint64_t number);

  world& home_;
  const std::vector<caf::actor> sessions_;
  const std::span<const trace_request> trace_;
  const replay_clients_options options_;
  caf::actor edge_;
  shared_list<token_id> tokens_; ///< every prompt is the first so many of them
  uint64_t start_ns_ = 0;
  size_t next_ = 0;
  size_t ended_ = 0;
  uint64_t last_end_ns_ = 0;
  std::vector<request_record> records_;
  std::vector<std::unique_ptr<open>> open_;
};

} // namespace perigee::sim
