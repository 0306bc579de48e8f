// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include "actors/policy/route_least_seconds.hpp"

#include <algorithm>

namespace perigee {

namespace {

constexpr auto ask_again_ns_min = uint64_t{1'000'000};

} // namespace

// -- whom to ask about ------------------------------------------------------------------------------------------------

/// Fresh requests first, in order of arrival; then a held one whose time has come; then, if something freed, the held ones in
/// their order, each once.
conductor_core::entry* conductor_core::next_due(uint64_t now_ns) {
  auto ask = [&](entry& found) {
    found.at = stage::asked;
    found.pass = pass_;
    return &found;
  };
  if (auto* first = first_asking()) {
    ask_.pop_front();
    --asking_;
    return ask(*first);
  }
  auto take = [&](const request_id& id) {
    auto& found = *requests_.at(id);
    leave_held(found);
    return ask(found);
  };
  if (held_.empty()) {
    wake_ = false;
    return nullptr;
  }
  if (!held_due_.empty() && std::get<0>(*held_due_.begin()) <= now_ns)
    return take(std::get<2>(*held_due_.begin()));
  const auto& first = *requests_.at(std::get<2>(*held_.begin()));
  if (wake_ && first.pass == pass_)
    wake_ = false;
  if (wake_ || first.turn_ns <= now_ns)
    return take(first.request.id.request);
  return nullptr;
}

std::optional<route_query> conductor_core::next_query(uint64_t now_ns) {
  auto is_idle = asking_ == 0 && held_.empty();
  if (is_idle)
    wake_ = false;
  if (outstanding_ || is_idle || !settled(now_ns))
    return std::nullopt;
  look_at_members();
  while (auto* next = next_due(now_ns)) {
    if (auto reason = impossible(*next)) {
      reject(now_ns, *next, reason->first, reason->second, 0);
      continue;
    }
    next->number = ++numbers_;
    outstanding_ = next->request.id.request;
    auto query = make_query(now_ns, *next);
    next->ideal_ns = query.prefill_best_ns;
    auto own = decide_at_decode(query);
    auto candidates = std::exchange(query.candidates, {});
    auto decodes = std::exchange(query.decodes, {});
    outstanding_query_ = query;
    if (own) {
      on(now_ns, std::move(*own));
      continue;
    }
    query.candidates = std::move(candidates);
    query.decodes = std::move(decodes);
    return query;
  }
  return std::nullopt;
}

std::optional<std::pair<ec, std::string>> conductor_core::impossible(const entry& waiting) const {
  auto prompt = waiting.request.prompt_tokens;
  for (auto [kind, capacity] : {std::pair{role::prefill, prefill_capacity_}, {role::decode, decode_capacity_}})
    if (capacity > 0 && prompt + 1 > capacity)
      return std::pair{ec::too_long, "the prompt has " + std::to_string(prompt) + " tokens, the largest "
                                       + to_string(kind) + " instance holds " + std::to_string(capacity)
                                       + "; give it more kv-memory"};
  return std::nullopt;
}

// -- what to ask ------------------------------------------------------------------------------------------------------

uint64_t conductor_core::output_to_reserve(const submit& request) const {
  auto output = uint64_t{request.max_tokens};
  if (!options_.reserve_max_tokens)
    output = std::min(output, estimate_.expected_output());
  return output * request.choices;
}

bool conductor_core::decode_has_room(const books::member& at, const submit& request) const {
  if (!is_used(at) || at.last.token_capacity < request.prompt_tokens + 1)
    return false;
  return at.open == 0
         || at.tokens + request.prompt_tokens + output_to_reserve(request) <= at.last.token_capacity;
}

uint64_t conductor_core::backlog_ns(uint64_t now_ns, uint32_t shard) const {
  auto node = shards_.at(shard).node;
  return node < sent_at_ns_.size() && sent_at_ns_[node] > now_ns ? sent_at_ns_[node] - now_ns : 0;
}

route_query conductor_core::make_query(uint64_t now_ns, const entry& waiting) {
  const auto& request = waiting.request;
  auto query = route_query{};
  query.placement = waiting.number;
  query.now_ns = now_ns;
  query.prompt_tokens = request.prompt_tokens;
  query.max_tokens = request.max_tokens;
  query.block_tokens = options_.block_tokens;
  query.tenant = request.tenant;
  query.arrived_ns = waiting.arrived_ns;
  query.expected_output = static_cast<uint32_t>(std::min<uint64_t>(output_to_reserve(request), UINT32_MAX));
  query.slo_ttft_ns = options_.slo_ttft_ns;
  query.slo_tbt_ns = options_.slo_tbt_ns;
  query.step = estimate_.step();
  query.fresh = waiting.turn_ns == 0;
  query.refusable = request.id.attempt == 0;
  query.sort_key = waiting.sort_key;
  query.held = static_cast<uint32_t>(held_.size());
  query.held_ns = held_ns_;
  if (options_.groups && options_.groups->stages_max > 1)
    query.shared_tokens_min = options_.groups->uncached_tokens_min;
  if (!held_.empty())
    query.held_key = std::get<0>(*held_.begin());
  for (const auto* at : books_.changes())
    rooms_.update(*at);
  if (!query.fresh)
    index_.prefetch(request.keys); // It was long ago.
  match_.find(request.keys, index_, where_);
  auto predict = [&](uint64_t blocks) {
    auto reused = std::min<uint64_t>(blocks * options_.block_tokens, request.prompt_tokens - 1);
    return estimate_.prefill_ns(request.prompt_tokens, reused);
  };
  if (options_.coupled != coupling::none)
    return make_coupled_query(std::move(query), request);
  query.best_blocks = match_.best();
  query.prefill_best_ns = predict(match_.best());
  query.prefill_error = estimate_.prefill_error();
  query.transfer_ns_block = estimate_.transfer_ns(options_.block_tokens);
  source_ = UINT32_MAX;
  for (auto shard : match_.holders()) {
    auto backlog = backlog_ns(now_ns, shard);
    if (source_ != UINT32_MAX && backlog >= query.source_backlog_ns)
      continue;
    source_ = shard;
    query.source_backlog_ns = backlog;
    if (backlog == 0)
      break; // None can have less.
  }
  query.candidates.resize(rooms_.prefills().size());
  auto* next = query.candidates.data();
  auto last = std::pair{uint32_t{0}, predict(0)}; // most instances have as much as the one before
  auto own = match_.own();
  for (const auto& at : rooms_.prefills()) {
    if (auto blocks = at.index < own.size() ? own[at.index] : 0; blocks != last.first)
      last = {blocks, predict(blocks)};
    *next = {at.index, last.first, last.second};
    next += at.capacity >= request.prompt_tokens;
  }
  query.candidates.resize(static_cast<size_t>(next - query.candidates.data()));
  query.decodes = rooms_.with_room(request.prompt_tokens, output_to_reserve(request));
  return query;
}

// -- what was decided -------------------------------------------------------------------------------------------------

void conductor_core::decide_without_policy(uint64_t now_ns) {
  if (!outstanding_)
    return;
  look_at_members();
  auto loads = std::vector<instance_load>{};
  for (auto kind : {role::prefill, role::decode})
    for (const auto* at : books_.instances(kind))
      append_loads(*at, loads);
  auto view = load_view{};
  for (const auto& load : loads)
    view.set(load);
  auto decision = route_decision{};
  if (const auto* asked = find_request(*outstanding_); asked && asked->number == outstanding_query_.placement)
    decision = route_least_seconds{}.decide(make_query(now_ns, *asked), view);
  decision.placement = outstanding_query_.placement;
  take(now_ns, std::move(decision), route_least_seconds::name);
}

void conductor_core::on(uint64_t now_ns, route_decision answer) {
  take(now_ns, std::move(answer), options_.policy);
}

void conductor_core::record(uint64_t now_ns, const ticket& id, route_decision decision, const std::string& policy) {
  ++decisions_made_;
  // The best offers say what matters of the candidates; all of them would be megabytes on a large cluster.
  decisions_.push_back({id, now_ns, std::move(outstanding_query_), std::move(decision), policy});
}

void conductor_core::take(uint64_t now_ns, route_decision decision, const std::string& policy) {
  if (!outstanding_ || decision.placement != outstanding_query_.placement)
    return; // Too late: somebody else decided.
  look_at_members();
  if (options_.coupled != coupling::none)
    decision.decode = decision.chosen.prefill;
  auto* at = find_request(*outstanding_);
  outstanding_.reset();
  if (!at || at->at != stage::asked || at->number != decision.placement)
    return;
  auto& waiting = *at;
  auto is_first_hold = outstanding_query_.fresh && decision.what == verdict::hold;
  auto best = std::move(decision.best); // for the record alone
  record(now_ns, waiting.request.id, decision, policy);
  decisions_.back().decision.best = std::move(best);
  const auto* prefill = books_.find(decision.at_decode ? role::decode : prompt_role(), decision.chosen.prefill);
  const auto* decode = books_.find(role::decode, decision.decode);
  auto gone = decision.what == verdict::place && (!prefill || !prefill->ready || !decode || !decode->ready);
  if (decision.what == verdict::reject) {
    reject(now_ns, waiting, decision.reason, "refused by policy " + options_.policy, 1'000'000'000);
    return;
  }
  auto places = decision.what == verdict::place && !gone;
  if (places && options_.groups && prefill->who.kind == role::prefill) {
    form_group(now_ns, waiting, decision);
    decisions_.back().decision.chosen = decision.chosen;
    decisions_.back().decision.stages = decision.stages;
  }
  if (places || (is_first_hold && decision.chosen.ttft_ns > 0))
    if (auto no = judge(now_ns, waiting, decision)) {
      decisions_.back().decision.what = verdict::reject;
      decisions_.back().decision.reason = ec::overloaded;
      reject(now_ns, waiting, ec::overloaded, no->detail, std::max<uint64_t>(no->over_ns, 1'000'000'000));
      return;
    }
  if (places)
    place(now_ns, waiting, decision);
  else
    hold(now_ns, waiting, gone ? route_decision{} : decision);
}

void conductor_core::hold(uint64_t now_ns, entry& waiting, const route_decision& decision) {
  const auto& id = waiting.request.id.request;
  waiting.at = stage::held;
  waiting.sort_key = decision.sort_key;
  waiting.ask_again_ns = decision.ask_again_ns == 0 ? 0 : std::max(decision.ask_again_ns, now_ns + ask_again_ns_min);
  waiting.turn_ns = now_ns + to_ns(options_.times.report);
  held_ns_ += waiting.ideal_ns;
  held_.insert({waiting.sort_key, waiting.order, id});
  if (waiting.ask_again_ns > 0)
    held_due_.insert({waiting.ask_again_ns, waiting.order, id});
}

std::optional<refusal> conductor_core::judge(uint64_t now_ns, const entry& waiting, const route_decision& decision) {
  // What was promised stays promised: a resumed or resubmitted request is not refused.
  if (waiting.request.id.attempt > 0)
    return std::nullopt;
  auto query = admission_query{};
  query.waited_ns = now_ns - waiting.arrived_ns;
  query.ttft_ns = decision.chosen.ttft_ns;
  query.prefill_ns = decision.chosen.prefill_ns;
  query.slo_ttft_ns = options_.slo_ttft_ns;
  query.slo_tbt_ns = options_.slo_tbt_ns;
  query.rows = waiting.request.choices;
  query.tokens = waiting.request.prompt_tokens;
  query.step = estimate_.step();
  if (decision.what == verdict::place) {
    const auto* decode = books_.find(role::decode, decision.decode);
    query.decode_chosen = true;
    query.running_rows = decode->running;
    query.running_tokens = decode->running_tokens;
    query.coming_rows = decode->rows - decode->running;
    query.coming_tokens = decode->tokens - decode->running_tokens;
    query.stay_ns = estimate_.stay_ns(decode->rows, decode->tokens);
  }
  return options_.admit.judge(query);
}

/// `prefill`: whose local shard is preferred; nothing for an instance without one.
std::vector<prefix_segment> conductor_core::plan(const entry& waiting, std::optional<uint32_t> prefill, bool fetches) {
  if (match_.version() != index_.version())
    match_.find(waiting.request.keys, index_, where_);
  auto shard = prefill ? where_.shard_of(*prefill) : std::nullopt;
  const auto& found = match_.found();
  auto wanted = match_.best();
  if (!fetches) {
    wanted = 0;
    while (shard && wanted < found.size()
           && std::binary_search(found[wanted].begin(), found[wanted].end(), *shard))
      ++wanted;
  }
  auto segments = std::vector<prefix_segment>{};
  for (auto [from, blocks] : plan_prefix(found, wanted, shard.value_or(UINT32_MAX), source_))
    segments.push_back({shards_.at(from), blocks});
  return segments;
}

/// What is read from other nodes occupies their ports: the next fetch from there comes after it.
void conductor_core::reserve_sending(uint64_t now_ns, const address& prefill,
                                     const std::vector<prefix_segment>& segments) {
  for (const auto& segment : segments) {
    if (segment.shard.node == prefill.node)
      continue;
    if (segment.shard.node >= sent_at_ns_.size())
      sent_at_ns_.resize(segment.shard.node + size_t{1});
    auto& until = sent_at_ns_[segment.shard.node];
    until = std::max(until, now_ns) + estimate_.transfer_ns(uint64_t{segment.blocks} * options_.block_tokens);
  }
}

/// Of the prompt, where the decision says.
uint64_t conductor_core::reused_tokens(const entry& waiting, const route_decision& decision) const {
  auto own_blocks = decision.at_decode ? 0 : match_.own(decision.chosen.prefill);
  auto reused = (own_blocks + decision.chosen.fetch_blocks) * uint64_t{options_.block_tokens};
  return std::min<uint64_t>(reused, waiting.request.prompt_tokens - 1);
}

void conductor_core::place(uint64_t now_ns, entry& waiting, const route_decision& decision) {
  auto was_held = waiting.turn_ns > 0;
  leave_queue(waiting);
  const auto& request = waiting.request;
  const auto& chosen = decision.chosen;
  auto reused = reused_tokens(waiting, decision);
  auto fresh = placement{};
  fresh.number = waiting.number;
  fresh.id = request.id;
  fresh.session = request.from;
  const auto& computes = *books_.find(decision.at_decode ? role::decode : prompt_role(), chosen.prefill);
  fresh.prefill = computes.who;
  fresh.decode = books_.find(role::decode, decision.decode)->who;
  fresh.prefill_open = fresh.decode_open = true;
  fresh.prompt_tokens = request.prompt_tokens;
  fresh.choices = request.choices;
  fresh.decode_tokens = request.prompt_tokens + output_to_reserve(request);
  fresh.uncached_tokens = request.prompt_tokens - reused;
  fresh.times = decision.stages.empty() ? group_times{prompt_ns(computes, request.prompt_tokens, reused)}
                                        : group_ns(request.prompt_tokens, reused, decision.stages.size() + 1);
  for (auto index : decision.stages)
    fresh.stages.push_back(books_.find(role::prefill, index)->who);
  auto local = std::optional{chosen.prefill};
  if (decision.at_decode)
    local.reset();
  auto segments = plan(waiting, local, chosen.fetch_blocks > 0);
  if (!decision.at_decode) // They will be there; what a decode instance computes goes back to where the prefix is.
    fresh.keys = std::move(waiting.request.keys);
  reserve_sending(now_ns, fresh.prefill, segments);
  auto group = pipeline{fresh.stages, options_.groups ? options_.groups->chunk_tokens : 0};
  waiting.answer = {options_.self, options_.self.incarnation, request.id,          0,               waiting.number,
                    fresh.prefill, fresh.decode,              std::move(segments), std::move(group)};
  waiting.at = stage::placed;
  answer_placed(now_ns, waiting);
  books_.open(std::move(fresh), now_ns);
  ++placements_;
  if (was_held)
    wake_ = true; // The next in order may fit as well.
}

} // namespace perigee
