// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/handover_messages.hpp"
#include "actors/core/outbox.hpp"
#include "actors/core/routing_messages.hpp"
#include "actors/core/status_messages.hpp"
#include "actors/core/timing.hpp"
#include "actors/session/choice_stream.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace perigee {

struct session_options {
  address self;
  timing times;
  uint32_t block_tokens = 16;
  std::string fingerprint; ///< of the model: root of all block keys
  text_decoder_factory decoder;
  uint64_t seed = 0; ///< of the generator that gives seeds to requests that bring none
  uint32_t requests_max = 4096;
  uint32_t attempts_max = 64;
};

/// Owns each request of one gateway from submit to end. A request has one or several *branches*: what the Conductor
/// places as one. All choices start in one branch, because they share the prompt's prefill; when a branch is lost after
/// its choices went different ways, each goes on in a branch of its own. Requests, branches and the Conductor stand in
/// session_core.cpp, tokens and how choices end in session_delivery.cpp.
class session_core {
public:
  using messages = outbox<submit, placed_ack, withdraw, prefill_job, token_acks, report>;
  /// Texts that follow each other are one event.
  using event = std::variant<client_opened, client_texts, client_finish, client_end, client_error>;

  explicit session_core(session_options options);

  void on(uint64_t now_ns, open_request request);
  void on(uint64_t now_ns, const close_request& request);
  void on(uint64_t now_ns, const peer_down& news);
  void on(uint64_t now_ns, const conductor_hello& hello);
  void on(uint64_t now_ns, const accepted& answer);
  void on(uint64_t now_ns, const placed& answer);
  void on(uint64_t now_ns, const rejected& answer);
  void on(uint64_t now_ns, const withdrawn& answer);
  void on(uint64_t now_ns, const job_ack& answer);
  void on(uint64_t now_ns, const job_failed& answer);
  void on(uint64_t now_ns, const token_batch& batch);
  void tick(uint64_t now_ns);
  void drain() {
    draining_ = true;
  }

  session_status status() const;
  bool idle() const {
    return requests_.empty() && withdrawing_.empty();
  }

  messages out;
  std::vector<event> events; ///< for the edge; taken by the shell after each call

private:
  struct request_state {
    open_request spec;
    uint64_t deadline_ns = 0;
    block_key root;
    std::vector<choice_stream> choices;
    std::optional<uint32_t> cached; ///< of the first attempt
    std::vector<uint64_t> branches; ///< numbers
  };

  enum class stage : uint8_t {
    backoff,   ///< waits before it is submitted again
    submitted, ///< nobody answered yet
    accepted,  ///< the Conductor owns it
    placed,    ///< the job is on its way to the prefill instance
    running,   ///< the prefill instance, or the decode instance after it, has it
  };

  struct branch {
    uint64_t client = 0;
    request_state* request = nullptr; ///< the client's; outlives it
    uint32_t attempt = 0;
    std::vector<uint32_t> choices;
    stage at = stage::submitted;
    shared_list<block_key> keys; ///< of what was last submitted
    placed place;
    bool decode_seen = false; ///< the decode instance sent tokens: the prefill instance is done with it
    uint64_t retry_ns = 0;
    uint32_t job_tries = 0;
  };

  using branch_map = std::map<uint64_t, branch>;

  ticket ticket_of(uint64_t number, const branch& part) const {
    return {{options_.self.incarnation, number}, part.attempt};
  }
  branch_map::iterator find(const ticket& id);
  shared_list<token_id> tokens_of(const request_state& request, const branch& part) const;
  shared_list<block_key> keys_of(const request_state& request, std::span<const token_id> tokens) const;
  void drop_branch(uint64_t number);
  void open_branch(uint64_t now_ns, uint64_t client, std::vector<uint32_t> choices);
  void send_submit(uint64_t now_ns, uint64_t number, branch& part);
  void send_job(uint64_t now_ns, uint64_t number, branch& part);
  void start_over(uint64_t now_ns, uint64_t number, uint64_t delay_ns);
  void withdraw_ticket(uint64_t now_ns, const ticket& id, ec outcome);
  void deliver(uint64_t now_ns, branch_map::iterator at, const token_update& update, size_t updates, token_acks& acks);
  void acknowledge_others(const token_batch& batch, token_acks& acks);
  void tell_text(client_text text, size_t texts);
  void finish_choice(request_state& request, uint64_t client, uint32_t choice, finish_reason reason);
  void finish_branch(uint64_t now_ns, branch_map::iterator at, bool by_instance);
  void fail(uint64_t now_ns, uint64_t client, ec code, std::string detail, uint64_t retry_after_ns = 0);
  bool unfinished(const branch& part) const;
  uint64_t backoff_ns(const branch& part) const;
  bool is_past(const address& conductor) const;
  bool is_gone(const address& instance) const;

  session_options options_;
  std::optional<address> conductor_;
  std::map<uint64_t, request_state> requests_; // by client number
  branch_map branches_;                        // by request number
  boost::unordered_flat_map<uint64_t, branch_map::iterator> branch_places_; // the same, looked up only
  struct withdrawal {
    ec outcome = ec::none;
    uint64_t retry_ns = 0;
  };
  std::map<ticket, withdrawal> withdrawing_;
  std::map<std::pair<role, uint32_t>, uint64_t> gone_; // highest incarnation known to be dead, by place
  uint64_t numbers_ = 0;
  uint64_t random_;
  uint64_t report_sequence_ = 0;
  bool draining_ = false;
  session_status totals_;
};

} // namespace perigee
