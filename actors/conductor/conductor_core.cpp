// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include "actors/policy/route_least_seconds.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

namespace {

constexpr auto decisions_kept = size_t{4096};

uint64_t ns(caf::timespan span) {
  return static_cast<uint64_t>(span.count());
}

} // namespace

conductor_core::conductor_core(conductor_options options, uint64_t now_ns)
  : options_(std::move(options)), started_ns_(now_ns), estimate_(options_.profile) {
  assert(options_.block_tokens > 0);
}

// -- members ----------------------------------------------------------------------------------------------------------

void conductor_core::on(uint64_t now_ns, const peer_up& news) {
  auto& who = news.who;
  switch (who.kind) {
  case role::prefill:
  case role::decode: books_.member_up(who); break;
  case role::shard:
    books_.member_up(who);
    shards_[who.index] = who;
    break;
  case role::session: sessions_.insert(who); break;
  default: return;
  }
  hello_retry_ns_[who] = now_ns;
  tick(now_ns);
}

void conductor_core::on(uint64_t now_ns, const peer_down& news) {
  auto& who = news.who;
  hello_retry_ns_.erase(who);
  books_.member_down(who, now_ns);
  wake_ = true;
  if (who.kind == role::shard && shards_.contains(who.index) && shards_[who.index] == who) {
    shards_.erase(who.index);
    feeds_.erase(who.index);
    index_.drop_shard(who.index);
  }
  if (who.kind != role::session)
    return;
  // Nobody waits for its requests any more.
  sessions_.erase(who);
  for (auto at = requests_.lower_bound({who.incarnation, 0});
       at != requests_.end() && at->first.session == who.incarnation;) {
    auto next = std::next(at);
    if (at->second.request.from == who)
      erase_request(at);
    at = next;
  }
  for (auto* entry : books_.all_placements())
    if (entry->session == who && !entry->cancel_at_ns)
      entry->cancel_at_ns = now_ns;
}

bool conductor_core::settled(uint64_t now_ns) const {
  if (now_ns >= started_ns_ + ns(options_.times.settle))
    return true;
  auto ready = std::count_if(books_.members().begin(), books_.members().end(),
                             [](const auto& item) { return item.second.ready; });
  return options_.members_expected > 0 && ready >= options_.members_expected;
}

// -- reports ----------------------------------------------------------------------------------------------------------

void conductor_core::on(uint64_t now_ns, const report& news) {
  if (news.term != options_.self.incarnation)
    return; // Meant for another reign; our hello is on its way.
  if (news.from.kind == role::session) {
    hello_retry_ns_.erase(news.from);
    return;
  }
  auto* at = books_.find(news.from);
  if (!at)
    return;
  out.to(news.from, report_ack{options_.self, options_.self.incarnation, news.sequence});
  if (at->ready && news.sequence <= at->last.sequence)
    return;
  if (!at->ready) {
    if (!news.full)
      return; // The first one must say what is held there.
    at->ready = true;
    hello_retry_ns_.erase(news.from);
    adopt(now_ns, news);
    wake_ = true;
  }
  at->last = news;
  at->last.active.clear();
  at->last.ended.clear();
  at->last.prefills.clear();
  at->last.steps.clear();
  learn(news);
  for (const auto& item : news.ended) {
    auto* entry = books_.placement_of(item.id);
    if (!entry)
      continue;
    if (entry->prefill == news.from && entry->prefill_open)
      books_.close_prefill(*entry, now_ns);
    if (entry->decode == news.from && entry->decode_open) {
      if (item.tokens > entry->prompt_tokens)
        estimate_.learn_output(item.tokens - entry->prompt_tokens);
      books_.close_decode(*entry);
    }
    books_.drop_if_closed(entry->number);
    wake_ = true;
  }
}

void conductor_core::adopt(uint64_t now_ns, const report& news) {
  for (const auto& item : news.active) {
    auto is_prefill = news.from.kind == role::prefill;
    if (auto* known = books_.placement_of(item.id)) {
      // The other side of it registered first.
      auto merged = *known;
      if (is_prefill && !merged.prefill_open && !merged.prefill.valid()) {
        merged.prefill = news.from;
        merged.prefill_open = true;
        merged.prefill_ns = estimate_.prefill_ns(item.tokens, 0);
      } else if (!is_prefill && !merged.decode_open && !merged.decode.valid()) {
        merged.decode = news.from;
        merged.decode_open = true;
        merged.decode_tokens = item.tokens;
      } else {
        continue;
      }
      if (known->prefill_open)
        books_.close_prefill(*known, now_ns);
      if (known->decode_open)
        books_.close_decode(*known);
      books_.drop_if_closed(merged.number);
      books_.open(std::move(merged), now_ns);
      continue;
    }
    auto found = placement{};
    found.number = ++numbers_;
    found.id = item.id;
    if (is_prefill) {
      found.prefill = news.from;
      found.prefill_open = true;
      found.prefill_ns = estimate_.prefill_ns(item.tokens, 0);
    } else {
      found.decode = news.from;
      found.decode_open = true;
      found.decode_tokens = item.tokens;
    }
    for (const auto& session : sessions_)
      if (session.incarnation == item.id.request.session)
        found.session = session;
    books_.open(std::move(found), now_ns);
  }
}

void conductor_core::learn(const report& news) {
  for (const auto& sample : news.prefills)
    estimate_.learn(sample);
  for (const auto& sample : news.steps)
    estimate_.learn(sample);
}

void conductor_core::on(uint64_t, const index_events& news) {
  if (news.term != options_.self.incarnation || news.from.kind != role::shard)
    return;
  auto at = shards_.find(news.from.index);
  if (at == shards_.end() || at->second != news.from)
    return;
  auto& feed = feeds_[news.from.index];
  if (news.epoch > feed.epoch) {
    if (news.sequence != 0) {
      // The connection broke and came back, and what we knew of this epoch went with it.
      out.to(news.from, index_ack{options_.self, news.term, news.epoch, 0, true});
      return;
    }
    index_.drop_shard(news.from.index);
    feed = {news.epoch, 0};
  }
  if (news.epoch == feed.epoch && news.sequence <= feed.next) {
    auto known = feed.next - news.sequence;
    for (auto i = known; i < news.events.size(); ++i) {
      const auto& event = news.events[i];
      if (event.stored)
        index_.store(event.key, news.from.index);
      else
        index_.evict(event.key, news.from.index);
    }
    feed.next = std::max<uint64_t>(feed.next, news.sequence + news.events.size());
  }
  out.to(news.from, index_ack{options_.self, news.term, feed.epoch, feed.next, false});
}

// -- requests ---------------------------------------------------------------------------------------------------------

bool conductor_core::over_bounds(const submit& request) const {
  return ask_.size() + held_.size() >= options_.waiting_requests_max
         || waiting_tokens_ + request.prompt_tokens > options_.waiting_tokens_max;
}

void conductor_core::on(uint64_t now_ns, const submit& request) {
  if (!sessions_.contains(request.from) || request.prompt_tokens == 0)
    return;
  auto known = requests_.find(request.id.request);
  if (known != requests_.end()) {
    auto& old = known->second;
    if (request.id.attempt < old.request.id.attempt)
      return;
    if (request.id.attempt == old.request.id.attempt) {
      if (old.at == stage::placed)
        out.to(request.from, old.answer);
      else if (old.at == stage::rejected)
        out.to(request.from, old.refusal);
      else
        out.to(request.from, accepted{options_.self, request.id});
      return;
    }
    erase_request(known);
  }
  if (request.id.attempt > 0)
    undo_attempts(now_ns, request.id.request, request.id.attempt - 1, 0);
  auto& fresh = requests_[request.id.request];
  fresh.request = request;
  fresh.arrived_ns = now_ns;
  fresh.deadline_ns = now_ns + request.deadline_ns;
  fresh.order = ++orders_;
  if (over_bounds(request)) {
    reject(now_ns, fresh, ec::overloaded, "the Conductor's waiting queue is full", 1'000'000'000);
    return;
  }
  out.to(request.from, accepted{options_.self, request.id});
  enqueue(fresh);
}

void conductor_core::enqueue(entry& waiting) {
  waiting.at = stage::waiting;
  waiting_tokens_ += waiting.request.prompt_tokens;
  ask_.push_back(waiting.request.id.request);
}

void conductor_core::leave_queue(entry& waiting) {
  if (waiting.at == stage::waiting || waiting.at == stage::held || waiting.at == stage::asked)
    waiting_tokens_ -= waiting.request.prompt_tokens;
  if (waiting.at == stage::waiting)
    ask_.erase(std::find(ask_.begin(), ask_.end(), waiting.request.id.request));
  if (waiting.at == stage::held)
    held_.erase({waiting.sort_key, waiting.order, waiting.request.id.request});
}

void conductor_core::erase_request(std::map<request_id, entry>::iterator at) {
  leave_queue(at->second);
  requests_.erase(at);
}

void conductor_core::reject(uint64_t now_ns, entry& waiting, ec reason, std::string detail, uint64_t retry_after_ns) {
  leave_queue(waiting);
  ++rejections_;
  waiting.at = stage::rejected;
  waiting.refusal = {options_.self, waiting.request.id, reason, std::move(detail), retry_after_ns};
  // Kept for a while, because the session may not have heard and ask again.
  waiting.deadline_ns = now_ns + 20 * ns(options_.times.retry);
  out.to(waiting.request.from, waiting.refusal);
}

void conductor_core::undo_attempts(uint64_t now_ns, const request_id& request, uint32_t attempt_max,
                                   uint64_t delay_ns) {
  for (auto* entry : books_.placements_of(request))
    if (entry->id.attempt <= attempt_max && (!entry->cancel_at_ns || *entry->cancel_at_ns > now_ns + delay_ns))
      entry->cancel_at_ns = now_ns + delay_ns;
}

void conductor_core::on(uint64_t, const placed_ack& ack) {
  auto at = requests_.find(ack.id.request);
  if (at != requests_.end() && at->second.request.id == ack.id && at->second.at == stage::placed
      && ack.revision == at->second.answer.revision)
    at->second.acked = true;
}

void conductor_core::on(uint64_t now_ns, const withdraw& request) {
  out.to(request.from, withdrawn{options_.self, request.id});
  auto at = requests_.find(request.id.request);
  if (at != requests_.end() && at->second.request.id.attempt <= request.id.attempt)
    erase_request(at);
  // A finished request's instances report its end by themselves; only what does not is cancelled.
  auto delay = request.outcome == ec::none ? 2 * ns(options_.times.retry) : 0;
  undo_attempts(now_ns, request.id.request, request.id.attempt, delay);
  tick(now_ns);
}

void conductor_core::on(uint64_t now_ns, const cancelled& answer) {
  auto* entry = books_.placement_of(answer.id);
  if (!entry)
    return;
  if (entry->prefill == answer.from && entry->prefill_open)
    books_.close_prefill(*entry, now_ns);
  if (entry->decode == answer.from && entry->decode_open)
    books_.close_decode(*entry);
  books_.drop_if_closed(entry->number);
  wake_ = true;
}

void conductor_core::on(uint64_t now_ns, const redirect& request) {
  auto answer = redirected{};
  answer.from = options_.self;
  answer.term = options_.self.incarnation;
  answer.id = request.id;
  auto* entry = books_.placement_of(request.id);
  auto owner = requests_.find(request.id.request);
  if (!entry || entry->cancel_at_ns || owner == requests_.end() || owner->second.request.id != request.id) {
    answer.reason = ec::stale;
    out.to(request.from, answer);
    return;
  }
  if (request.revision >= entry->revision) {
    auto* best = static_cast<books::member*>(nullptr);
    for (const auto& [place, at] : books_.members())
      if (place.first == role::decode && at.who != entry->decode && decode_has_room(at, owner->second.request)
          && (!best || at.tokens < best->tokens))
        best = books_.find(at.who);
    auto* same = books_.find(entry->decode);
    if (!best && same && decode_has_room(*same, owner->second.request))
      best = same; // It may have room when it is asked again.
    if (!best) {
      answer.reason = ec::out_of_blocks;
      out.to(request.from, answer);
      return;
    }
    ++redirections_;
    books_.move_decode(*entry, best->who);
    owner->second.answer.decode = entry->decode;
    owner->second.answer.revision = entry->revision;
    owner->second.acked = false;
    owner->second.retry_ns = now_ns + ns(options_.times.retry);
    out.to(owner->second.request.from, owner->second.answer);
  }
  answer.revision = entry->revision;
  answer.decode = entry->decode;
  out.to(request.from, answer);
}

// -- decisions --------------------------------------------------------------------------------------------------------

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
    waiting.ask_again_ns = decision.ask_again_ns > now_ns ? decision.ask_again_ns : now_ns + ns(options_.times.report);
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
  waiting.retry_ns = now_ns + ns(options_.times.retry);
  out.to(request.from, waiting.answer);
  books_.open(std::move(fresh), now_ns);
  ++placements_;
}

// -- time -------------------------------------------------------------------------------------------------------------

void conductor_core::tick(uint64_t now_ns) {
  auto retry = ns(options_.times.retry);
  for (auto& [who, due] : hello_retry_ns_) {
    if (due > now_ns)
      continue;
    due = now_ns + retry;
    out.to(who, conductor_hello{options_.self, options_.self.incarnation});
  }
  for (auto at = requests_.begin(); at != requests_.end();) {
    auto& entry = at->second;
    auto next = std::next(at);
    if (entry.at == stage::placed) {
      if (!entry.acked && entry.retry_ns <= now_ns) {
        entry.retry_ns = now_ns + retry;
        out.to(entry.request.from, entry.answer);
      }
    } else if (entry.deadline_ns <= now_ns) {
      if (entry.at == stage::rejected)
        erase_request(at);
      else
        reject(now_ns, entry, ec::deadline, "the deadline passed while the request waited for a place", 0);
    }
    at = next;
  }
  for (auto* entry : books_.all_placements()) {
    if (!entry->cancel_at_ns || *entry->cancel_at_ns > now_ns)
      continue;
    entry->cancel_at_ns = now_ns + retry;
    auto order = cancel{options_.self, options_.self.incarnation, entry->id};
    if (entry->prefill_open)
      out.to(entry->prefill, order);
    if (entry->decode_open)
      out.to(entry->decode, order);
  }
}

std::vector<instance_load> conductor_core::take_load_changes() {
  return books_.take_changes();
}

cluster_status conductor_core::status(uint64_t now_ns) const {
  auto result = cluster_status{};
  result.conductor = options_.self;
  result.term = options_.self.incarnation;
  result.policy = options_.policy;
  result.waiting = static_cast<uint32_t>(ask_.size() + held_.size() + (outstanding_ ? 1 : 0));
  result.placements = placements_;
  result.rejections = rejections_;
  result.redirections = redirections_;
  for (const auto& [place, at] : books_.members()) {
    auto item = member_status{};
    item.who = at.who;
    item.alive = at.ready;
    item.last = at.last;
    item.queue_ns = at.free_at_ns > now_ns ? at.free_at_ns - now_ns : 0;
    item.placed = static_cast<uint32_t>(at.open.size());
    item.tokens_reserved = at.tokens;
    item.blocks = place.first == role::shard ? index_.blocks_of(place.second) : 0;
    result.members.push_back(std::move(item));
  }
  return result;
}

std::optional<decision_record> conductor_core::decision_of(const request_id& request) const {
  for (auto at = decisions_.rbegin(); at != decisions_.rend(); ++at)
    if (at->id.request == request)
      return *at;
  return std::nullopt;
}

} // namespace perigee
