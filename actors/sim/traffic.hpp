// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/client_messages.hpp"
#include "actors/sim/cluster.hpp"

#include <map>
#include <string>
#include <vector>

namespace perigee::sim {

/// What clients of a simulated cluster do. All lengths in tokens.
struct traffic_options {
  uint32_t requests = 200;
  uint64_t gap_ns_max = 10'000'000; ///< between two arrivals
  uint32_t late = 0;                ///< so many of the requests, the last ones, come after a pause
  uint64_t late_ns = 0;             ///< how long it is
  uint32_t prefixes = 6;            ///< prompts begin with one of so many shared texts
  uint32_t prefix_tokens_max = 32;
  uint32_t suffix_tokens_max = 24;
  uint32_t max_tokens_max = 30;
  uint32_t follow_ppm = 250'000; ///< continue a finished conversation: its prompt, its answer, something new
  uint32_t greedy_ppm = 500'000;
  uint32_t choices_max = 2;
  uint32_t several_ppm = 100'000;      ///< requests with more than one choice
  uint32_t ignore_end_ppm = 200'000;   ///< requests that no end token ends
  uint32_t leave_ppm = 0;              ///< clients that leave at some time after they came
  uint64_t leave_ns_max = 100'000'000; ///< when
  uint64_t deadline_ns = 60'000'000'000;
};

/// Opens requests at the sessions of a cluster and checks every answer (I3, I8): each request ends once and in time; its
/// tokens are, in order and without gap, those that a fault-free run gives; what ends without an error is complete. Clients
/// of a gateway whose node dies are forgotten, as their connections are. Must outlive every run of the world.
class traffic {
public:
  /// What its requests may leave in pools is added to `known`.
  traffic(cluster& target, traffic_options options, known_content& known);

  /// Schedules all arrivals.
  void start();

  /// Every request has come and has ended, left, or lost its gateway.
  bool done() const;

  /// What was wrong, one sentence each; at most a few.
  const std::vector<std::string>& problems() const {
    return problems_;
  }

  /// The last fault is over: whoever comes from now on must not end with an error (I10).
  void expect_success() {
    calm_ns_ = target_.home().now();
  }

  /// To be called before a gateway's node is killed.
  void gateway_dies(uint32_t gateway);

  struct counters {
    uint64_t opened = 0;
    uint64_t finished = 0;
    uint64_t left = 0;
    uint64_t lost = 0; ///< with their gateway, or there was none
    uint64_t tokens = 0;
    uint64_t prompt_tokens = 0;
    uint64_t cached_tokens = 0;
    std::map<ec, uint64_t> errors;
  };
  const counters& totals() const {
    return totals_;
  }

  /// What the blocks of a key must hold: the tags of its tokens, layer by layer. Null for a key of no request.
  const std::vector<uint64_t>* block_content(const block_key& key) const;

private:
  struct client {
    open_request spec;
    uint32_t gateway = 0;
    uint64_t opened_ns = 0;
    bool open = false;
    bool ended = false;
    std::vector<std::vector<token_id>> expected; ///< by choice
    std::vector<std::vector<token_id>> got;
    std::vector<std::string> text;
    std::vector<finish_reason> reasons;
  };

  void arrive(uint64_t number);
  open_request draw(uint64_t number);
  void foresee(client& who);
  void leave(uint64_t number);
  caf::actor edge(uint32_t gateway);
  client* find(uint64_t number);
  void on(const client_text& news);
  void on(const client_finish& news);
  void on(const client_end& news);
  void on(const client_error& news);
  void check_complete(const client& who, uint64_t number);
  void end(client& who, uint64_t number);
  void problem(uint64_t number, const std::string& what);

  cluster& target_;
  const traffic_options options_;
  random_stream random_;
  std::vector<std::vector<token_id>> prefixes_;
  std::vector<std::vector<token_id>> conversations_; ///< finished: prompt and answer
  std::map<uint64_t, client> clients_;               ///< by number, from 1
  std::map<uint32_t, caf::actor> edges_;
  uint64_t open_ = 0;
  uint64_t to_come_ = 0;
  uint64_t calm_ns_ = UINT64_MAX;
  counters totals_;
  known_content& known_;
  std::map<block_key, std::vector<uint64_t>> content_;
  std::vector<std::string> problems_;
};

} // namespace perigee::sim
