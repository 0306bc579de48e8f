// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include "actors/policy/route_least_seconds.hpp"

#include <algorithm>

namespace perigee {

namespace {

constexpr auto decisions_kept = size_t{4096};

} // namespace

std::optional<route_query> conductor_core::next_query(uint64_t now_ns) {
  if (outstanding_ || !settled(now_ns))
    return std::nullopt;
  while (true) {
    if (ask_.empty()) {
      // A hold stays until something changed.
      auto due = !held_.empty() && (wake_ || requests_.at(std::get<2>(*held_.begin())).ask_again_ns <= now_ns);
      if (!due)
        return std::nullopt;
      auto id = std::get<2>(*held_.begin());
      held_.erase(held_.begin());
      requests_.at(id).at = stage::waiting;
      ask_.push_back(id);
    }
    auto& next = requests_.at(ask_.front());
    if (auto reason = impossible(next)) {
      reject(now_ns, next, reason->first, reason->second, 0);
      continue;
    }
    ask_.pop_front();
    next.at = stage::asked;
    next.number = ++numbers_;
    outstanding_ = next.request.id.request;
    outstanding_query_ = make_query(now_ns, next);
    return outstanding_query_;
  }
}

std::optional<std::pair<ec, std::string>> conductor_core::impossible(const entry& waiting) const {
  auto largest = [&](role kind) {
    auto tokens = uint64_t{0};
    for (const auto& [place, at] : books_.members())
      if (place.first == kind && at.ready)
        tokens = std::max(tokens, at.last.token_capacity);
    return tokens;
  };
  auto prompt = waiting.request.prompt_tokens;
  for (auto kind : {role::prefill, role::decode}) {
    auto capacity = largest(kind);
    if (capacity > 0 && prompt + 1 > capacity)
      return std::pair{ec::too_long, "the prompt has " + std::to_string(prompt) + " tokens, the largest "
                                       + to_string(kind) + " instance holds " + std::to_string(capacity)
                                       + "; give it more kv-memory"};
  }
  return std::nullopt;
}

uint64_t conductor_core::tokens_to_reserve(const submit& request) const {
  auto output = std::min<uint64_t>(request.max_tokens, estimate_.expected_output());
  return request.prompt_tokens + output * request.choices;
}

bool conductor_core::decode_has_room(const books::member& at, const submit& request) const {
  if (!at.ready || at.last.token_capacity < request.prompt_tokens + 1)
    return false;
  return at.open.empty() || at.tokens + tokens_to_reserve(request) <= at.last.token_capacity;
}

std::optional<uint32_t> conductor_core::local_shard(const address& instance) const {
  auto found = std::optional<uint32_t>{};
  for (const auto& [index, who] : shards_) {
    if (who.node != instance.node)
      continue;
    if (index == instance.index)
      return index;
    if (!found)
      found = index;
  }
  return found;
}

uint32_t conductor_core::own_blocks(const std::vector<std::span<const uint32_t>>& found,
                                    const std::vector<block_key>& keys, const address& prefill) const {
  auto shard = local_shard(prefill);
  auto count = uint32_t{0};
  while (count < keys.size()) {
    auto stored = shard && count < found.size()
                  && std::binary_search(found[count].begin(), found[count].end(), *shard);
    if (!stored && !books_.pending().holds(keys[count], prefill.index))
      break;
    ++count;
  }
  return count;
}

route_query conductor_core::make_query(uint64_t now_ns, const entry& waiting) const {
  const auto& request = waiting.request;
  auto query = route_query{};
  query.placement = waiting.number;
  query.now_ns = now_ns;
  query.prompt_tokens = request.prompt_tokens;
  query.max_tokens = request.max_tokens;
  query.block_tokens = options_.block_tokens;
  auto found = index_.lookup(request.keys);
  auto predict = [&](uint64_t blocks) {
    auto reused = std::min<uint64_t>(blocks * options_.block_tokens, request.prompt_tokens - 1);
    return estimate_.prefill_ns(request.prompt_tokens, reused);
  };
  query.best_blocks = static_cast<uint32_t>(found.size());
  query.prefill_best_ns = predict(found.size());
  query.transfer_ns_block = estimate_.transfer_ns(options_.block_tokens);
  for (const auto& [place, at] : books_.members()) {
    if (!at.ready)
      continue;
    if (place.first == role::prefill && at.last.token_capacity >= request.prompt_tokens) {
      auto own = own_blocks(found, request.keys, at.who);
      query.candidates.push_back({place.second, own, predict(own)});
    }
    if (place.first == role::decode && decode_has_room(at, request))
      query.decodes.push_back(place.second);
  }
  return query;
}

void conductor_core::decide_without_policy(uint64_t now_ns) {
  if (!outstanding_)
    return;
  auto view = load_view{};
  for (const auto& [place, at] : books_.members())
    if (at.ready)
      view.set(books_.load_of(at));
  auto decision = route_least_seconds{}.decide(outstanding_query_, view);
  decision.placement = outstanding_query_.placement;
  on(now_ns, decision);
}

void conductor_core::on(uint64_t now_ns, const route_decision& decision) {
  if (!outstanding_ || decision.placement != outstanding_query_.placement)
    return; // Too late: somebody else decided.
  auto at = requests_.find(*outstanding_);
  outstanding_.reset();
  if (at == requests_.end() || at->second.at != stage::asked || at->second.number != decision.placement)
    return;
  auto& waiting = at->second;
  decisions_.push_back({waiting.request.id, now_ns, outstanding_query_, decision});
  if (decisions_.size() > decisions_kept)
    decisions_.pop_front();
  auto* prefill = books_.find(role::prefill, decision.chosen.prefill);
  auto* decode = books_.find(role::decode, decision.decode);
  auto gone = decision.what == verdict::place && (!prefill || !prefill->ready || !decode || !decode->ready);
  if (decision.what == verdict::hold || gone) {
    waiting.at = stage::held;
    waiting.sort_key = decision.sort_key;
    waiting.ask_again_ns = decision.ask_again_ns > now_ns ? decision.ask_again_ns
                                                          : now_ns + to_ns(options_.times.report);
    held_.insert({waiting.sort_key, waiting.order, waiting.request.id.request});
    wake_ = gone;
    return;
  }
  if (decision.what == verdict::reject) {
    reject(now_ns, waiting, decision.reason, "refused by policy " + options_.policy, 1'000'000'000);
    return;
  }
  if (auto reason = refuse_early(now_ns, waiting, decision)) {
    auto over = decision.chosen.ttft_ns > options_.slo_ttft_ns ? decision.chosen.ttft_ns - options_.slo_ttft_ns : 0;
    reject(now_ns, waiting, ec::overloaded, *reason, std::max<uint64_t>(over, 1'000'000'000));
    return;
  }
  place(now_ns, waiting, decision);
}

std::optional<std::string> conductor_core::refuse_early(uint64_t now_ns, const entry& waiting,
                                                        const route_decision& decision) const {
  // What was promised stays promised: a resumed or resubmitted request is not refused.
  if (options_.admit != admission::early || waiting.request.id.attempt > 0)
    return std::nullopt;
  auto ms = [](uint64_t value) { return std::to_string(value / 1'000'000) + " ms"; };
  auto ttft_ns = now_ns - waiting.arrived_ns + decision.chosen.ttft_ns;
  if (ttft_ns > options_.slo_ttft_ns)
    return "the first token is predicted in " + ms(ttft_ns) + ", promised are " + ms(options_.slo_ttft_ns);
  const auto* decode = books_.find(role::decode, decision.decode);
  if (decode->open.empty())
    return std::nullopt; // An idle instance is as fast as this cluster gets.
  auto step_ns = estimate_.step_ns(decode->open.size() + waiting.request.choices,
                                   decode->tokens + waiting.request.prompt_tokens);
  if (step_ns > options_.slo_tbt_ns)
    return "a decode step is predicted to take " + ms(step_ns) + ", promised are " + ms(options_.slo_tbt_ns);
  return std::nullopt;
}

std::vector<prefix_segment> conductor_core::plan(const entry& waiting, const books::member& prefill,
                                                 uint32_t fetch_blocks) const {
  auto found = index_.lookup(waiting.request.keys);
  auto shard = local_shard(prefill.who);
  auto own = shard ? leading_blocks(found, *shard) : 0;
  auto wanted = std::min<uint32_t>(static_cast<uint32_t>(found.size()), fetch_blocks > 0 ? UINT32_MAX : own);
  auto segments = std::vector<prefix_segment>{};
  for (auto [from, blocks] : plan_prefix(found, wanted, shard.value_or(UINT32_MAX)))
    segments.push_back({shards_.at(from), blocks});
  return segments;
}

void conductor_core::place(uint64_t now_ns, entry& waiting, const route_decision& decision) {
  leave_queue(waiting);
  const auto& request = waiting.request;
  auto* prefill = books_.find(role::prefill, decision.chosen.prefill);
  auto* decode = books_.find(role::decode, decision.decode);
  auto fresh = placement{};
  fresh.number = waiting.number;
  fresh.id = request.id;
  fresh.session = request.from;
  fresh.prefill = prefill->who;
  fresh.decode = decode->who;
  fresh.prefill_open = fresh.decode_open = true;
  fresh.decode_tokens = tokens_to_reserve(request);
  fresh.prompt_tokens = request.prompt_tokens;
  fresh.keys = request.keys;
  auto reused = uint64_t{0};
  for (const auto& at : outstanding_query_.candidates)
    if (at.index == decision.chosen.prefill)
      reused = (at.own_blocks + decision.chosen.fetch_blocks) * uint64_t{options_.block_tokens};
  fresh.prefill_ns = estimate_.prefill_ns(request.prompt_tokens, std::min<uint64_t>(reused, request.prompt_tokens - 1));
  waiting.answer = {options_.self,  options_.self.incarnation, request.id,     0,
                    waiting.number, fresh.prefill,             fresh.decode, plan(waiting, *prefill,
                                                                                    decision.chosen.fetch_blocks)};
  waiting.at = stage::placed;
  waiting.acked = false;
  waiting.retry_ns = now_ns + to_ns(options_.times.retry);
  out.to(request.from, waiting.answer);
  books_.open(std::move(fresh), now_ns);
  ++placements_;
}

} // namespace perigee
