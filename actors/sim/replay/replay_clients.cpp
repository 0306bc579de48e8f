// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/replay_clients.hpp"

#include "actors/core/interfaces.hpp"
#include "actors/sim/replay/replay_stream.hpp"
#include "transport/base/spread_key.hpp"

#include <caf/event_based_actor.hpp>

#include <algorithm>

namespace perigee::sim {

namespace {

constexpr token_id any_token = 7;

} // namespace

replay_clients::replay_clients(world& home, std::vector<caf::actor> sessions, std::span<const trace_request> trace,
                               replay_clients_options options)
  : home_(home), sessions_(std::move(sessions)), trace_(trace), options_(std::move(options)), records_(trace.size()),
    open_(trace.size()) {
  auto longest = uint32_t{0};
  for (const auto& request : trace)
    longest = std::max(longest, request.input_tokens);
  tokens_ = std::vector<token_id>(longest, any_token);
  edge_ = home_.spawn("clients", [this](caf::event_based_actor*) {
    return caf::behavior{
      [this](const client_texts& news) {
        for (const auto& item : news.items)
          on(item);
      },
      [this](const client_opened& news) {
        if (options_.recorder != nullptr)
          options_.recorder->opened(news.client, news.request);
      },
      [](const client_finish&) {},
      [this](const client_end& news) { on(news); },
      [this](const client_error& news) { on(news); },
    };
  });
}

block_key replay_clients::key_of(uint64_t block) {
  return {spread_key(block, 1), spread_key(block, 2)};
}

void replay_clients::start(uint64_t delay_ns) {
  start_ns_ = home_.now() + delay_ns;
  if (!trace_.empty())
    home_.alarm(due_ns(0) - home_.now(), *this, 0);
}

uint64_t replay_clients::due_ns(size_t number) const {
  return start_ns_ + static_cast<uint64_t>(static_cast<double>(trace_[number].arrival_ns) / options_.speed + 0.5);
}

void replay_clients::on_alarm(uint64_t) {
  while (next_ < trace_.size() && due_ns(next_) <= home_.now())
    open_next();
  if (next_ < trace_.size())
    home_.alarm(due_ns(next_) - home_.now(), *this, 0);
}

void replay_clients::open_next() {
  auto number = next_++;
  const auto& what = trace_[number];
  auto& record = records_[number];
  record.arrival_ns = home_.now() - start_ns_;
  record.input_tokens = what.input_tokens;
  open_[number] = std::make_unique<open>();
  open_request request;
  request.client = number;
  request.prompt = tokens_.part(0, what.input_tokens);
  request.max_tokens = options_.lengths_known
                         ? what.output_tokens
                         : static_cast<uint32_t>(options_.context_tokens - std::min<uint64_t>(options_.context_tokens - 1, what.input_tokens));
  request.sampling.temperature = 0;
  request.sampling.seed = number; // By it the device knows the request.
  request.seeded = true;
  if (!options_.lengths_known)
    request.sampling.stop_ids = {replay_end_token};
  request.deadline_ns = options_.deadline_ns;
  auto keys = std::vector<block_key>{};
  for (auto block : what.blocks)
    keys.push_back(key_of(block));
  request.keys = std::move(keys);
  if (!options_.tenants.empty())
    request.tenant = options_.tenants.at(number);
  sessions_[number % sessions_.size()]->enqueue(caf::actor_cast<caf::strong_actor_ptr>(edge_), caf::make_message_id(),
                                                caf::make_message(std::move(request)), nullptr);
}

void replay_clients::on(const client_text& news) {
  if (news.tokens.empty())
    return;
  auto& record = records_[news.client];
  auto& stream = *open_[news.client];
  auto now = home_.now();
  auto fresh = news.tokens.size();
  if (record.ttft_ns == 0) {
    record.ttft_ns = now - start_ns_ - record.arrival_ns;
    --fresh;
  } else {
    stream.gaps.push_back(now - stream.last_ns);
    --fresh;
  }
  stream.gaps.insert(stream.gaps.end(), fresh, 0); // What comes together has no gap.
  stream.last_ns = now;
  record.last_token_ns = now - start_ns_ - record.arrival_ns;
  record.output_tokens += static_cast<uint32_t>(news.tokens.size());
}

void replay_clients::on(const client_end& news) {
  auto& record = records_[news.client];
  record.finished = true;
  record.cached_tokens = news.cached_tokens;
  end(news.client);
}

void replay_clients::on(const client_error& news) {
  records_[news.client].error = news.code;
  end(news.client);
}

void replay_clients::end(uint64_t number) {
  records_[number].tbt_ns = mean_of_longest_tenth(open_[number]->gaps);
  open_[number].reset();
  last_end_ns_ = home_.now() - start_ns_;
  if (options_.recorder != nullptr)
    options_.recorder->ended(number, home_.now());
  ++ended_;
}

} // namespace perigee::sim
