// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/random.hpp"
#include "actors/sim/trace/trace.hpp"

#include <queue>
#include <string_view>

namespace perigee::sim {

/// Kinds of synthetic traffic; docs/simulation.md has their statistics.
enum class traffic_kind : uint8_t {
  conversation,  ///< sessions of several turns, after the public conversation trace
  agent,         ///< shared system prompts, many short turns
  documents,     ///< long documents, each asked about several times
  short_prompts, ///< 256 tokens in, 256 out, nothing shared
};

/// What `--draw KIND:SEED` asks for.
struct draw_spec {
  traffic_kind kind = traffic_kind::conversation;
  uint64_t seed = 0;
};

/// Reads "KIND:SEED", where KIND is conversation, agent, documents or short. Throws `failure` (`invalid_argument`).
draw_spec parse_draw(std::string_view text);

/// Mean time between two requests of a kind where none is asked for.
uint64_t default_gap_ns(traffic_kind kind) noexcept;

/// Draws requests in the order of their arrival, for ever: a pure function of its arguments, in integers, equal on
/// every machine. Arrivals are a Poisson process; each is the next turn of a session whose pause is over, or else
/// begins a session. Memory grows with the sessions that are between two turns.
class trace_generator {
public:
  /// `gap_ns` is the mean time between requests, at least 1.
  trace_generator(draw_spec spec, uint64_t gap_ns);

  trace_request next();

private:
  struct session {
    uint64_t ready_ns = 0; // the next turn comes at the first arrival from here on
    uint64_t number = 0;
    uint64_t turns_left = 0;
    std::vector<uint64_t> kept; // full blocks that the next prompt begins with
    uint64_t kept_tokens = 0;   // it begins with, at least those of `kept`
    uint64_t new_tokens = 0;    // that it has behind them
  };
  struct later {
    bool operator()(const session& a, const session& b) const noexcept {
      return a.ready_ns != b.ready_ns ? a.ready_ns > b.ready_ns : a.number > b.number;
    }
  };

  session begin_session();
  void begin_with_system_prompt(session& begun);
  trace_request take_turn(session turn);
  void append_new_blocks(std::vector<uint64_t>& blocks, uint64_t count);

  traffic_kind kind_;
  uint64_t gap_ns_;
  random_stream arrivals_;
  random_stream shapes_;
  uint64_t now_ns_ = 0;
  uint64_t sessions_ = 0;
  uint64_t next_id_ = 0;
  std::vector<std::vector<uint64_t>> system_prompts_;
  std::priority_queue<session, std::vector<session>, later> paused_;
};

/// The first `requests` of a generator.
std::vector<trace_request> draw_trace(draw_spec spec, uint64_t requests, uint64_t gap_ns);

} // namespace perigee::sim
