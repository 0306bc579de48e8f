// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/route_load.hpp"

#include "actors/sim/replay/replay_clients.hpp"
#include "transport/base/spread_key.hpp"

#include <algorithm>
#include <utility>

namespace perigee::cli {

namespace {

constexpr uint64_t incarnation = 1;
constexpr uint64_t instance_tokens = 1'330'000;
constexpr uint64_t batch_max = 512; // as a shard's

} // namespace

route_load::route_load(std::span<const sim::trace_request> trace, uint32_t prefills, uint32_t decodes, uint64_t term)
  : trace_(trace), prefills_(prefills), term_(term), computing_max_(std::max(1u, prefills / 2)),
    decoding_max_(size_t{decodes} * 4), events_sent_(prefills), filled_(prefills), evicted_(prefills) {
  members_.push_back({role::session, 0, 0, incarnation});
  for (uint32_t i = 0; i < prefills; ++i)
    members_.push_back({role::prefill, i, 2 + i, incarnation});
  for (uint32_t i = 0; i < prefills; ++i)
    members_.push_back({role::shard, i, 2 + i, incarnation});
  for (uint32_t i = 0; i < decodes; ++i)
    members_.push_back({role::decode, i, 2 + prefills + i, incarnation});
  for (const auto& request : trace_) {
    auto keys = std::vector<block_key>{};
    for (auto block : request.blocks)
      keys.push_back(sim::replay_clients::key_of(block));
    keys_.emplace_back(std::move(keys));
  }
}

report route_load::next_report(const address& who) {
  auto& sent = reports_sent_[static_cast<size_t>(who.kind)];
  if (who.index >= sent.size())
    sent.resize(who.index + size_t{1});
  auto result = report{};
  result.from = who;
  result.term = term_;
  result.sequence = ++sent[who.index];
  result.token_capacity = instance_tokens;
  return result;
}

report route_load::first_report(const address& who) {
  auto result = next_report(who);
  result.full = true;
  return result;
}

index_events route_load::next_filling(uint64_t& made, uint64_t blocks) {
  auto shard = static_cast<uint32_t>(made / batch_max % prefills_);
  auto result = index_events{{role::shard, shard, 2 + shard, incarnation}, term_, 1, events_sent_[shard], {}};
  for (; result.events.size() < batch_max && made < blocks; ++made)
    result.events.push_back({filler(shard, filled_[shard]++), true});
  events_sent_[shard] += result.events.size();
  return result;
}

block_key route_load::filler(uint32_t shard, uint64_t number) {
  return {spread_key(number, 2 * shard + 3), spread_key(number, 2 * shard + 4)};
}

index_events route_load::churn(uint32_t blocks) {
  auto shard = std::exchange(churning_, (churning_ + 1) % prefills_);
  auto result = index_events{{role::shard, shard, 2 + shard, incarnation}, term_, 1, events_sent_[shard], {}};
  for (uint32_t i = 0; i < blocks; ++i) {
    result.events.push_back({filler(shard, filled_[shard]++), true});
    result.events.push_back({filler(shard, evicted_[shard]++), false});
  }
  events_sent_[shard] += result.events.size();
  return result;
}

submit route_load::request(uint64_t number) const {
  auto result = submit{};
  result.from = session();
  result.id = {{incarnation, number}, 0};
  result.prompt_tokens = trace_[number].input_tokens;
  result.max_tokens = trace_[number].output_tokens;
  result.keys = keys_[number];
  result.deadline_ns = 600'000'000'000;
  return result;
}

report route_load::computed(const placed& what) {
  const auto& request = trace_[what.id.request.number];
  auto reused = uint64_t{0};
  for (const auto& segment : what.prefix)
    reused += uint64_t{segment.blocks} * sim::trace_block_tokens;
  reused = std::min<uint64_t>(reused, request.input_tokens - 1);
  auto result = next_report(what.prefill);
  result.ended.push_back({what.id, request.input_tokens, what.placement});
  result.prefills.push_back({request.input_tokens, static_cast<uint32_t>(reused),
                             costs_.prefill_ns(request.input_tokens, reused), what.id});
  return result;
}

report route_load::decoded(const placed& what) {
  const auto& request = trace_[what.id.request.number];
  auto result = next_report(what.decode);
  result.ended.push_back({what.id, uint64_t{request.input_tokens} + request.output_tokens, what.placement});
  return result;
}

/// What was not in the pool when the request was placed is at the shard beside its prefill instance now.
std::optional<index_events> route_load::newly_stored(const placed& what) {
  const auto& keys = keys_[what.id.request.number];
  auto known = size_t{0};
  for (const auto& segment : what.prefix)
    known += segment.blocks;
  if (known >= keys.size())
    return std::nullopt;
  auto shard = what.prefill.index;
  auto result = index_events{{role::shard, shard, what.prefill.node, incarnation}, term_, 1, events_sent_[shard], {}};
  result.events.reserve(keys.size() - known);
  for (auto place = known; place < keys.size(); ++place)
    result.events.push_back({keys[place], true});
  events_sent_[shard] += result.events.size();
  return result;
}

} // namespace perigee::cli
