// SPDX-License-Identifier: Apache-2.0
#include "actors/prefill/prefill_core.hpp"

#include "actors/core/marker.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

namespace {

constexpr auto tries_max = 40u;       // of one message whose answer needs no work on the other side
constexpr auto stream_items_max = 2u; // one runs, the next waits: the device never idles between chunks

using stage = prefill_attempt::stage;
using grant = prefill_attempt::grant;

uint64_t ns(caf::timespan span) {
  return static_cast<uint64_t>(span.count());
}

uint64_t fetch_id(const prefill_attempt& at) {
  return at.number * 2;
}
uint64_t publish_id(const prefill_attempt& at) {
  return at.number * 2 + 1;
}

uint32_t common_blocks(const std::vector<block_key>& a, const std::vector<block_key>& b) {
  return static_cast<uint32_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

} // namespace

prefill_core::prefill_core(prefill_options options)
  : options_(std::move(options)), pool_(options_.slots), reporter_(options_.self, ns(options_.times.report)) {
  auto block = options_.layout.block_tokens;
  options_.chunk_tokens = std::max(block, options_.chunk_tokens / block * block);
}

prefill_core::attempt* prefill_core::find(const ticket& id) {
  auto at = attempts_.find(id);
  return at == attempts_.end() ? nullptr : &at->second;
}

prefill_core::attempt* prefill_core::find_number(uint64_t number) {
  auto at = by_number_.find(number);
  return at == by_number_.end() ? nullptr : find(at->second);
}

// -- jobs -------------------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, const prefill_job& job) {
  if (attempts_.contains(job.id)) {
    out.to(job.from, job_ack{options_.self, job.id});
    return;
  }
  auto refuse = [&](ec reason) { out.to(job.from, job_failed{options_.self, job.id, reason}); };
  if (over_.covers(job.id)) {
    marker("prefill: stale job");
    return refuse(ec::stale);
  }
  if (job.tokens.empty() || job.gen.choices.empty() || job.keys.size() > options_.layout.blocks_for(job.tokens.size())
      || options_.layout.blocks_for(job.tokens.size()) > options_.slots)
    return refuse(ec::too_long);
  if (queue_.size() >= options_.queue_max)
    return refuse(ec::overloaded);
  for (auto at = attempts_.lower_bound({job.id.request, 0}); at != attempts_.end() && at->first < job.id;) {
    auto& lower = (at++)->second;
    marker("prefill: higher attempt");
    if (lower.at != stage::closing)
      close(now_ns, lower, ec::stale, false);
  }
  if (job.id.attempt > 0)
    over_.bury({job.id.request, job.id.attempt - 1});
  auto& fresh = attempts_[job.id];
  fresh.job = job;
  fresh.number = ++numbers_;
  fresh.deadline_ns = now_ns + job.deadline_ns;
  fresh.keys = job.keys;
  by_number_[fresh.number] = job.id;
  queue_.push_back(job.id);
  out.to(job.from, job_ack{options_.self, job.id});
  advance(now_ns);
}

/// Whatever can go on, goes on: called after everything that may have freed something.
void prefill_core::advance(uint64_t now_ns) {
  admit(now_ns);
  start_compute(now_ns);
  send_tokens(now_ns, UINT64_MAX);
  if (reporter_.due(now_ns))
    send_report(now_ns);
}

void prefill_core::admit(uint64_t now_ns) {
  for (const auto& id : std::vector(queue_.begin(), queue_.end())) {
    auto& next = attempts_.at(id);
    if (next.at != stage::queued)
      continue;
    if (waits_for_sibling(next))
      continue;
    auto slots = pool_.take(options_.layout.blocks_for(next.job.tokens.size()), slot_state::live);
    if (!slots)
      return; // First come, first served: a short job does not overtake a long one for slots.
    next.slots = std::move(*slots);
    start_fetch(next, now_ns);
  }
}

/// Whether an earlier attempt here is about to store more of this prefix than can be fetched now.
bool prefill_core::waits_for_sibling(const attempt& next) const {
  auto planned = uint32_t{0};
  for (const auto& segment : next.job.prefix)
    planned += segment.blocks;
  return std::any_of(attempts_.begin(), attempts_.end(), [&](const auto& item) {
    const auto& other = item.second;
    auto will_store = other.at != stage::closing && (other.at != stage::computed || other.publishing);
    return other.number < next.number && will_store && common_blocks(other.keys, next.keys) > planned;
  });
}

void prefill_core::start_fetch(attempt& next, uint64_t now_ns) {
  auto plan = std::vector<prefix_segment>{};
  auto left = static_cast<uint32_t>(next.keys.size());
  for (auto segment : next.job.prefix) {
    segment.blocks = std::min(segment.blocks, left);
    left -= segment.blocks;
    if (segment.blocks > 0)
      plan.push_back(segment);
  }
  if (left > 0 && local_shard_) {
    // The plan may be older than what was stored here meanwhile; asking costs no network.
    plan.push_back({*local_shard_, left});
    left = 0;
  }
  auto blocks = static_cast<uint32_t>(next.keys.size()) - left;
  if (blocks == 0) {
    next.at = stage::ready;
    return;
  }
  next.at = stage::fetching;
  next.fetching = true;
  // What cannot be had in the time of a transfer or two is computed: a silent peer must not hold the queue until the
  // request's deadline.
  auto left_ns = next.deadline_ns > now_ns ? next.deadline_ns - now_ns : 0;
  local.push_back(fetch{fetch_id(next), {next.keys.begin(), next.keys.begin() + blocks},
                        {next.slots.begin(), next.slots.begin() + blocks}, std::move(plan),
                        std::min(left_ns, 2 * ns(options_.times.transfer))});
}

void prefill_core::on(uint64_t now_ns, const fetched& answer) {
  auto* next = find_number(answer.id / 2);
  if (!next || !next->fetching)
    return;
  next->fetching = false;
  if (next->at == stage::closing)
    return finish_if_quiet(now_ns, ticket{next->job.id});
  auto tokens = static_cast<uint32_t>(next->job.tokens.size());
  next->fetched = answer.blocks;
  // The last token is always computed: its logits are what the first sampled token needs.
  next->reused = std::min(answer.blocks * options_.layout.block_tokens, tokens - 1);
  next->submitted = next->reused;
  next->at = stage::ready;
  if (next->reused == tokens - 1 && tokens > 1)
    marker("prefill: whole prompt cached");
  advance(now_ns);
}

// -- compute ----------------------------------------------------------------------------------------------------------

void prefill_core::start_compute(uint64_t now_ns) {
  while (by_work_.size() < stream_items_max) {
    auto runnable = [&](const ticket& id) {
      const auto& at = attempts_.at(id);
      return at.at == stage::ready || (at.at == stage::computing && at.submitted < at.job.tokens.size());
    };
    auto id = std::find_if(queue_.begin(), queue_.end(), runnable);
    if (id == queue_.end())
      return;
    auto& next = attempts_.at(*id);
    if (next.at == stage::ready) {
      next.at = stage::computing;
      if (auto blocks = next.submitted / options_.layout.block_tokens; blocks > 0)
        next.pending.push_back({0, blocks, std::nullopt});
      ask_decode(next, now_ns);
    }
    run_chunk(next);
    by_work_.rbegin()->second.since_ns = now_ns;
  }
}

void prefill_core::run_chunk(attempt& next) {
  const auto& layout = options_.layout;
  auto total = static_cast<uint32_t>(next.job.tokens.size());
  auto start = next.submitted;
  auto end = start + options_.chunk_tokens < total
               ? (start + options_.chunk_tokens) / layout.block_tokens * layout.block_tokens
               : total;
  auto work = kernels::prefill_work{};
  work.id = ++numbers_;
  work.start = start;
  work.tokens.assign(next.job.tokens.begin() + start, next.job.tokens.begin() + end);
  work.blocks.assign(next.slots.begin(), next.slots.begin() + layout.blocks_for(end));
  if (end == total) {
    const auto& gen = next.job.gen;
    for (const auto& choice : gen.choices) {
      auto sample = kernels::sample_request{gen.sampling, choice.choice, choice.generated, gen.prompt_tokens, {}};
      if (gen.sampling.needs_history())
        sample.history = next.job.tokens;
      work.samples.push_back(std::move(sample));
    }
  }
  next.submitted = end;
  next.work.insert(work.id);
  by_work_[work.id] = {next.job.id, start / layout.block_tokens, layout.blocks_for(end), end == total, 0};
  local.push_back(run_prefill{std::move(work)});
}

void prefill_core::on(uint64_t, const layer_done& progress) {
  auto item = by_work_.find(progress.id);
  if (item == by_work_.end())
    return;
  auto* next = find(item->second.id);
  if (!next || next->at == stage::closing)
    return;
  next->pending.push_back({item->second.block_first, item->second.block_last, progress.layer});
  push_writes(*next);
}

void prefill_core::on(uint64_t now_ns, const work_done& answer) {
  auto item = by_work_.find(answer.result.id);
  if (item == by_work_.end())
    return;
  auto done = item->second;
  by_work_.erase(item);
  auto* next = find(done.id);
  assert(next);
  next->work.erase(answer.result.id);
  next->busy_ns += answer.result.busy_ns;
  if (next->at == stage::closing) {
    finish_if_quiet(now_ns, done.id);
  } else if (!answer.result.outcome.ok()) {
    marker("prefill: device error");
    device_broken_ |= answer.result.outcome.code == errc::io_error;
    close(now_ns, *next, ec::instance_failed, true);
  } else if (done.last) {
    computed(now_ns, *next, answer.result);
  }
  advance(now_ns);
}

void prefill_core::computed(uint64_t now_ns, attempt& next, const kernels::work_result& result) {
  const auto& job = next.job;
  assert(result.tokens.size() == job.gen.choices.size());
  auto id = job.id;
  next.at = stage::computed;
  next.first_tokens = result.tokens;
  std::erase(queue_, id);
  reporter_.sample(prefill_sample{static_cast<uint32_t>(job.tokens.size()), next.reused, next.busy_ns});
  next.finished_here = true;
  for (auto i = size_t{0}; i < job.gen.choices.size(); ++i) {
    const auto& choice = job.gen.choices[i];
    tokens_.open(id, choice.choice, job.from, choice.generated, next.reused);
    tokens_.push(id, choice.choice, result.tokens[i]);
    auto finish = job.gen.finish_after(result.tokens[i], choice.generated + 1);
    if (finish == finish_reason::none)
      next.finished_here = false;
    else
      tokens_.finish(id, choice.choice, finish);
  }
  send_tokens(now_ns, UINT64_MAX);
  offer(next);
  if (next.finished_here) {
    marker("prefill: ended with the first token");
    next.pending.clear();
  }
  announce(next, now_ns);
  finish_if_quiet(now_ns, id);
}

/// Gives the full blocks to the shards; they stay unchanged here until the store client says `published`.
void prefill_core::offer(attempt& next) {
  auto from_local = local_shard_
                    && std::all_of(next.job.prefix.begin(), next.job.prefix.end(), [&](const prefix_segment& segment) {
                         return segment.shard == *local_shard_;
                       });
  auto first = from_local ? next.fetched : 0; // A copy of a remote block stays here as a new replica.
  auto last = static_cast<uint32_t>(next.keys.size());
  if (!options_.keep_generated || first >= last)
    return;
  next.publishing = true;
  local.push_back(publish{publish_id(next), {next.keys.begin() + first, next.keys.end()},
                          {next.slots.begin() + first, next.slots.begin() + last}});
}

void prefill_core::on(uint64_t now_ns, const published& answer) {
  auto* next = find_number(answer.id / 2);
  if (!next || !next->publishing)
    return;
  next->publishing = false;
  finish_if_quiet(now_ns, ticket{next->job.id});
  advance(now_ns);
}

// -- hand-over --------------------------------------------------------------------------------------------------------

void prefill_core::ask_decode(attempt& next, uint64_t now_ns) {
  const auto& job = next.job;
  next.decode_side = grant::asked;
  next.decode_knows = true;
  next.retry_ns = now_ns + ns(options_.times.retry);
  ++next.tries;
  out.to(job.decode, reserve{options_.self, job.id, job.term, job.revision, job.placement, job.from, job.tokens,
                             job.root, job.gen, next.deadline_ns > now_ns ? next.deadline_ns - now_ns : 0});
}

void prefill_core::ask_redirect(attempt& next, uint64_t now_ns) {
  next.retry_ns = now_ns + ns(options_.times.retry);
  ++next.tries;
  if (reporter_.conductor())
    out.to(*reporter_.conductor(), redirect{options_.self, next.job.id, next.job.revision});
}

void prefill_core::on(uint64_t now_ns, const granted& answer) {
  auto* next = find(answer.id);
  if (!next || next->at == stage::closing || next->decode_side != grant::asked || answer.from != next->job.decode)
    return;
  if (answer.slots.size() != next->slots.size())
    return close(now_ns, *next, ec::instance_failed, true);
  next->decode_side = grant::granted;
  next->where = answer;
  next->tries = 0;
  push_writes(*next);
  announce(*next, now_ns);
}

void prefill_core::on(uint64_t now_ns, const refused& answer) {
  auto* next = find(answer.id);
  if (!next || next->at == stage::closing || answer.from != next->job.decode || answer.revision != next->job.revision)
    return;
  marker("prefill: decode refused");
  if (next->decode_side == grant::asked && answer.reason == ec::out_of_blocks && !next->finished_here) {
    next->decode_knows = false;
    next->decode_side = grant::redirecting;
    next->tries = 0;
    return ask_redirect(*next, now_ns);
  }
  if (next->finished_here || next->decode_side == grant::joined)
    return;
  close(now_ns, *next, ec::peer_lost, true);
}

void prefill_core::on(uint64_t now_ns, const redirected& answer) {
  auto* next = find(answer.id);
  if (!next || next->decode_side != grant::redirecting || next->at == stage::closing)
    return;
  next->tries = 0;
  if (answer.reason == ec::out_of_blocks)
    return; // What is computed stays computed: asked again at the next retry.
  if (answer.reason != ec::none)
    return close(now_ns, *next, answer.reason, true);
  if (answer.revision <= next->job.revision)
    return;
  marker("prefill: redirected");
  auto elsewhere = answer.decode != next->job.decode;
  next->job.revision = answer.revision;
  next->job.decode = answer.decode;
  next->decode_side = grant::asked;
  if (elsewhere)
    ask_decode(*next, now_ns);
  else
    next->retry_ns = now_ns + ns(options_.times.retry); // It has just refused.
}

void prefill_core::push_writes(attempt& next) {
  if (next.decode_side != grant::granted || next.finished_here)
    return;
  const auto& layout = options_.layout;
  for (const auto& write : std::exchange(next.pending, {})) {
    auto move = move_blocks{};
    move.id = ++numbers_;
    move.peer = next.where.from;
    move.local = options_.region;
    move.remote = next.where.region;
    move.immediate = next.where.immediate;
    move.deadline_ns = ns(options_.times.transfer);
    auto bytes = write.layer ? layout.layer_bytes : layout.block_bytes();
    for (auto block = write.block_first; block < write.block_last; ++block)
      move.pieces.push_back({layout.offset(next.slots[block], write.layer.value_or(0)),
                             layout.offset(next.where.slots[block], write.layer.value_or(0)), bytes});
    next.bytes += bytes * move.pieces.size();
    ++next.pieces;
    next.moves.insert(move.id);
    by_move_[move.id] = next.job.id;
    local.push_back(std::move(move));
  }
}

void prefill_core::on(uint64_t now_ns, const moved& answer) {
  auto at = by_move_.find(answer.id);
  if (at == by_move_.end())
    return;
  auto id = at->second;
  by_move_.erase(at);
  auto* next = find(id);
  assert(next);
  next->moves.erase(answer.id);
  if (!answer.outcome.ok()) {
    if (answer.outcome.code == errc::peer_lost || answer.outcome.code == errc::timed_out)
      next->clean = false;
    if (next->at != stage::closing && next->decode_side != grant::joined) {
      marker("prefill: write failed");
      close(now_ns, *next, ec::peer_lost, true);
      return advance(now_ns);
    }
  }
  finish_if_quiet(now_ns, id);
  advance(now_ns);
}

void prefill_core::announce(attempt& next, uint64_t now_ns) {
  if (next.at != stage::computed || next.finished_here || next.decode_side != grant::granted || !next.pending.empty())
    return;
  next.announced = true;
  next.retry_ns = now_ns + ns(options_.times.retry);
  out.to(next.where.from,
         handed_over{options_.self, next.job.id, next.first_tokens, next.pieces, next.bytes, next.reused});
}

void prefill_core::on(uint64_t now_ns, const joined& answer) {
  auto* next = find(answer.id);
  if (!next || answer.from != next->job.decode || next->at != stage::computed || !next->announced)
    return;
  next->decode_side = grant::joined;
  tokens_.drop_unfinished(answer.id);
  finish_if_quiet(now_ns, answer.id);
  advance(now_ns);
}

void prefill_core::on(uint64_t, const quiesced_ack& answer) {
  auto at = farewells_.find(answer.id);
  if (at != farewells_.end() && at->second.decode == answer.from)
    farewells_.erase(at);
}

// -- ends -------------------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, const cancel& order) {
  auto known = false;
  for (auto at = attempts_.lower_bound({order.id.request, 0}); at != attempts_.end() && at->first <= order.id;) {
    auto& target = (at++)->second;
    known |= target.job.id == order.id;
    static constexpr const char* markers[] = {"prefill: cancel queued",    "prefill: cancel fetching",
                                              "prefill: cancel ready",     "prefill: cancel computing",
                                              "prefill: cancel computed", "prefill: cancel closing"};
    marker(markers[static_cast<size_t>(target.at)]);
    target.cancel_asked_by = order.from;
    tokens_.drop(target.job.id);
    if (target.at != stage::closing)
      close(now_ns, target, ec::cancelled, false);
  }
  over_.bury(order.id);
  if (!known)
    out.to(order.from, cancelled{options_.self, order.id});
  advance(now_ns);
}

void prefill_core::close(uint64_t now_ns, attempt& ended, ec reason, bool tell_session) {
  assert(ended.at != stage::closing);
  auto id = ended.job.id;
  ended.at = stage::closing;
  ended.failure = reason;
  ended.tell_session = tell_session;
  ended.pending.clear();
  std::erase(queue_, id);
  if (ended.fetching)
    local.push_back(cancel_store{fetch_id(ended)});
  if (ended.publishing)
    local.push_back(cancel_store{publish_id(ended)});
  for (auto work : ended.work)
    local.push_back(cancel_work{work});
  for (auto move : ended.moves)
    local.push_back(cancel_move{move});
  finish_if_quiet(now_ns, id);
}

/// Releases an attempt that is over, once nothing touches its slots any more.
void prefill_core::finish_if_quiet(uint64_t now_ns, const ticket& id) {
  auto& ended = attempts_.at(id);
  auto over = ended.at == stage::closing
              || (ended.at == stage::computed && (ended.finished_here || ended.decode_side == grant::joined));
  if (!over || ended.fetching || ended.publishing || !ended.moves.empty() || !ended.work.empty())
    return;
  for (auto slot : ended.slots)
    pool_.drop_ref(slot);
  if (ended.decode_knows && ended.decode_side != grant::joined) {
    auto& parting = farewells_[id] = {ended.job.decode, ended.clean, now_ns + ns(options_.times.retry)};
    out.to(parting.decode, quiesced{options_.self, id, parting.clean});
  }
  if (ended.tell_session) {
    out.to(ended.job.from, job_failed{options_.self, id, ended.failure});
    for (const auto& choice : ended.job.gen.choices) {
      if (!tokens_.has(id, choice.choice))
        tokens_.open(id, choice.choice, ended.job.from, choice.generated, ended.reused);
      tokens_.finish(id, choice.choice, finish_reason::failed);
    }
  }
  if (ended.cancel_asked_by)
    out.to(*ended.cancel_asked_by, cancelled{options_.self, id});
  reporter_.ended({id, ended.job.tokens.size(), ended.job.placement});
  over_.bury(id);
  by_number_.erase(ended.number);
  attempts_.erase(id);
}

void prefill_core::on(uint64_t, const peer_up& news) {
  if (news.who.kind == role::shard && options_.local_shard == news.who.index)
    local_shard_ = news.who;
}

void prefill_core::on(uint64_t now_ns, const peer_down& news) {
  reporter_.lost(news.who);
  if (local_shard_ == news.who)
    local_shard_.reset();
  if (news.who.kind == role::session)
    tokens_.drop_session(news.who);
  std::erase_if(farewells_, [&](const auto& item) { return item.second.decode == news.who; });
  auto affected = std::vector<ticket>{};
  for (auto& [id, at] : attempts_) {
    if (at.job.decode == news.who && at.decode_side != grant::joined) {
      at.decode_knows = false; // Its memory is gone with it.
      if (!at.finished_here)
        affected.push_back(id);
    }
    if (at.job.from == news.who)
      affected.push_back(id);
  }
  for (const auto& id : affected)
    if (auto* at = find(id); at && at->at != stage::closing)
      close(now_ns, *at, ec::peer_lost, news.who.kind != role::session);
  advance(now_ns);
}

// -- time and reports -------------------------------------------------------------------------------------------------

void prefill_core::on(uint64_t now_ns, const token_acks& acks) {
  for (const auto& ack : acks.acks)
    tokens_.on(ack, now_ns); // A choice the session wants no more of is cancelled through the Conductor.
}

void prefill_core::on(uint64_t now_ns, const conductor_hello& hello) {
  if (reporter_.on(hello))
    send_report(now_ns);
}

void prefill_core::on(uint64_t, const report_ack& ack) {
  reporter_.on(ack);
}

void prefill_core::send_tokens(uint64_t now_ns, uint64_t retry_ns) {
  for (auto& [session, batch] : tokens_.collect(options_.self, now_ns, retry_ns))
    out.to(session, std::move(batch));
}

void prefill_core::send_report(uint64_t now_ns) {
  if (!reporter_.conductor())
    return;
  auto news = reporter_.next(now_ns);
  news.slots_total = pool_.capacity();
  news.slots_free = pool_.count(slot_state::free);
  news.token_capacity = uint64_t{options_.slots} * options_.layout.block_tokens;
  for (const auto& [id, at] : attempts_) {
    auto left = at.at == stage::computed || at.at == stage::closing ? 0 : at.job.tokens.size() - at.submitted;
    news.queued_tokens += left;
    ++(at.at == stage::queued || at.at == stage::fetching || at.at == stage::ready ? news.waiting : news.running);
    if (news.full)
      news.active.push_back({id, left, at.job.placement});
  }
  out.to(*reporter_.conductor(), std::move(news));
}

bool prefill_core::device_lost(uint64_t now_ns) const {
  return device_broken_ || std::any_of(by_work_.begin(), by_work_.end(), [&](const auto& item) {
    return item.second.since_ns + ns(options_.times.device) <= now_ns;
  });
}

void prefill_core::tick(uint64_t now_ns) {
  auto retry = ns(options_.times.retry);
  for (const auto& id : [&] {
         auto ids = std::vector<ticket>{};
         for (const auto& [id, at] : attempts_)
           if (at.at != stage::closing)
             ids.push_back(id);
         return ids;
       }()) {
    auto& at = attempts_.at(id);
    auto waits_for_joined = at.announced && at.decode_side == grant::granted;
    if (at.deadline_ns <= now_ns) {
      marker("prefill: deadline");
      close(now_ns, at, ec::deadline, true);
      continue;
    }
    auto waits = at.decode_side == grant::asked || at.decode_side == grant::redirecting || waits_for_joined;
    if (!waits || at.finished_here || at.retry_ns > now_ns)
      continue;
    if (at.tries >= tries_max) {
      marker("prefill: decode silent");
      close(now_ns, at, ec::peer_lost, true);
    } else if (at.decode_side == grant::asked) {
      ask_decode(at, now_ns);
    } else if (at.decode_side == grant::redirecting) {
      ask_redirect(at, now_ns);
    } else {
      // Counted only once all bytes are out: until then the network may simply be slow.
      at.tries += at.moves.empty();
      announce(at, now_ns);
    }
  }
  for (auto& [id, parting] : farewells_) {
    if (parting.retry_ns > now_ns)
      continue;
    parting.retry_ns = now_ns + retry;
    out.to(parting.decode, quiesced{options_.self, id, parting.clean});
  }
  send_tokens(now_ns, retry);
  advance(now_ns);
}

} // namespace perigee
