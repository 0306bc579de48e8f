// SPDX-License-Identifier: Apache-2.0
#include "actors/session/session_core.hpp"

#include "actors/core/marker.hpp"

#include <algorithm>
#include <cassert>

namespace perigee {

namespace {

constexpr auto job_tries_max = 12u;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough to tell requests apart, and the same everywhere.
uint64_t next_random(uint64_t& state) {
  auto z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

} // namespace

session_core::session_core(session_options options) : options_(std::move(options)), random_(options_.seed) {
  assert(options_.decoder);
}

// -- clients ----------------------------------------------------------------------------------------------------------

void session_core::on(uint64_t now_ns, open_request request) {
  auto refuse = [&](ec code, std::string detail, uint64_t retry_after_ns) {
    events.emplace_back(std::in_place_type<client_error>, request.client, code, std::move(detail), retry_after_ns);
  };
  if (draining_)
    return refuse(ec::draining, "this gateway is shutting down", 0);
  if (requests_.size() >= options_.requests_max)
    return refuse(ec::overloaded,
                  "this gateway has " + std::to_string(options_.requests_max) + " requests in flight already",
                  1'000'000'000);
  auto client = request.client;
  assert(!requests_.contains(client) && !request.prompt.empty() && request.choices > 0);
  auto& fresh = requests_[client];
  fresh.spec = std::move(request);
  auto& spec = fresh.spec;
  if (!spec.seeded)
    spec.sampling.seed = next_random(random_);
  fresh.deadline_ns = now_ns + (spec.deadline_ns ? spec.deadline_ns : to_ns(options_.times.request));
  fresh.root = root_key(options_.fingerprint, spec.tenant);
  auto all = std::vector<uint32_t>{};
  for (auto i = 0u; i < spec.choices; ++i) {
    fresh.choices.emplace_back(options_.decoder(spec.prompt), spec.stop);
    all.push_back(i);
  }
  ++totals_.requests;
  totals_.prompt_tokens += spec.prompt.size();
  open_branch(now_ns, client, std::move(all));
  events.emplace_back(std::in_place_type<client_opened>, client, request_id{options_.self.incarnation, numbers_});
}

void session_core::on(uint64_t now_ns, const close_request& request) {
  if (!requests_.contains(request.client))
    return;
  marker("session: client left");
  if (request.reason == ec::cancelled) {
    for (auto number : std::vector{requests_.at(request.client).branches}) {
      withdraw_ticket(now_ns, ticket_of(number, branches_.at(number)), ec::cancelled);
      drop_branch(number);
    }
    requests_.erase(request.client);
  } else {
    fail(now_ns, request.client, request.reason, "the client did not read its answer");
  }
}

void session_core::fail(uint64_t now_ns, uint64_t client, ec code, std::string detail, uint64_t retry_after_ns) {
  auto at = requests_.find(client);
  assert(at != requests_.end());
  for (auto number : at->second.branches) {
    withdraw_ticket(now_ns, ticket_of(number, branches_.at(number)), code);
    drop_branch(number);
  }
  requests_.erase(at);
  events.emplace_back(std::in_place_type<client_error>, client, code, std::move(detail), retry_after_ns);
}

// -- branches ---------------------------------------------------------------------------------------------------------

session_core::branch_map::iterator session_core::find(const ticket& id) {
  if (id.request.session != options_.self.incarnation)
    return branches_.end();
  auto at = branch_places_.find(id.request.number);
  return at != branch_places_.end() && at->second->second.attempt == id.attempt ? at->second : branches_.end();
}

void session_core::drop_branch(uint64_t number) {
  branches_.erase(branch_places_.at(number));
  branch_places_.erase(number);
}

shared_list<token_id> session_core::tokens_of(const request_state& request, const branch& part) const {
  // Several choices share a branch only while none of them has tokens.
  const auto& generated = request.choices[part.choices.front()].tokens();
  if (generated.empty())
    return request.spec.prompt;
  auto tokens = std::vector<token_id>{};
  tokens.reserve(request.spec.prompt.size() + generated.size());
  tokens.insert(tokens.end(), request.spec.prompt.begin(), request.spec.prompt.end());
  tokens.insert(tokens.end(), generated.begin(), generated.end());
  return tokens;
}

/// Keys that the edge knew hold for the prompt; what was generated since continues their chain.
shared_list<block_key> session_core::keys_of(const request_state& request, std::span<const token_id> tokens) const {
  if (request.spec.keys.empty())
    return chain_keys(request.root, tokens, options_.block_tokens);
  auto prompt = request.spec.prompt.size();
  const auto& known = request.spec.keys;
  auto full = prompt / options_.block_tokens;
  auto keys = std::vector<block_key>(known.begin(), known.begin() + std::min(known.size(), full));
  auto more = chain_keys(keys.empty() ? request.root : keys.back(), tokens.subspan(keys.size() * options_.block_tokens),
                         options_.block_tokens);
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

void session_core::open_branch(uint64_t now_ns, uint64_t client, std::vector<uint32_t> choices) {
  auto number = ++numbers_;
  auto place = branches_.try_emplace(number).first;
  branch_places_[number] = place;
  auto& part = place->second;
  part.client = client;
  part.request = &requests_.at(client);
  part.choices = std::move(choices);
  part.request->branches.push_back(number);
  send_submit(now_ns, number, part);
}

void session_core::send_submit(uint64_t now_ns, uint64_t number, branch& part) {
  part.retry_ns = now_ns + to_ns(options_.times.retry);
  if (!conductor_)
    return;
  const auto& request = *part.request;
  auto prompt = static_cast<uint32_t>(request.spec.prompt.size());
  auto generated = request.choices[part.choices.front()].have();
  auto message = submit{};
  message.from = options_.self;
  message.id = ticket_of(number, part);
  message.prompt_tokens = prompt + generated;
  message.max_tokens = request.spec.max_tokens - generated;
  message.choices = static_cast<uint32_t>(part.choices.size());
  // A prompt whose keys are known is not copied: it may be long.
  part.keys = generated == 0 && !request.spec.keys.empty() ? request.spec.keys : keys_of(request, tokens_of(request, part));
  message.keys = part.keys;
  message.tenant = request.spec.tenant;
  message.deadline_ns = request.deadline_ns > now_ns ? request.deadline_ns - now_ns : 0;
  out.to(*conductor_, std::move(message));
}

void session_core::send_job(uint64_t now_ns, uint64_t number, branch& part) {
  part.retry_ns = now_ns + to_ns(options_.times.retry);
  const auto& request = *part.request;
  auto job = prefill_job{};
  job.from = options_.self;
  job.id = ticket_of(number, part);
  job.term = part.place.term;
  job.revision = part.place.revision;
  job.placement = part.place.placement;
  job.decode = part.place.decode;
  job.tokens = tokens_of(request, part);
  job.root = request.root;
  job.gen.sampling = request.spec.sampling;
  job.gen.prompt_tokens = static_cast<uint32_t>(request.spec.prompt.size());
  job.gen.max_tokens = request.spec.max_tokens;
  for (auto choice : part.choices)
    job.gen.choices.push_back({choice, request.choices[choice].have()});
  job.prefix = part.place.prefix;
  job.group = part.place.group;
  job.deadline_ns = request.deadline_ns > now_ns ? request.deadline_ns - now_ns : 0;
  job.keys = part.keys;
  out.to(part.place.prefill, std::move(job));
}

void session_core::start_over(uint64_t now_ns, uint64_t number, uint64_t delay_ns) {
  auto& part = branches_.at(number);
  auto& request = *part.request;
  ++totals_.resubmitted;
  std::erase_if(part.choices,
                [&](uint32_t choice) { return request.choices[choice].finished() != finish_reason::none; });
  assert(!part.choices.empty());
  for (auto choice : part.choices)
    request.choices[choice].restart();
  if (part.attempt + 1 >= options_.attempts_max)
    return fail(now_ns, part.client, ec::instance_failed,
                "gave up after " + std::to_string(options_.attempts_max) + " attempts on failing instances");
  auto diverged = part.choices.size() > 1
                  && std::any_of(part.choices.begin(), part.choices.end(),
                                 [&](uint32_t choice) { return request.choices[choice].have() > 0; });
  auto others = std::vector<uint32_t>{};
  if (diverged) {
    marker("session: branch split");
    others.assign(part.choices.begin() + 1, part.choices.end());
    part.choices.resize(1);
  }
  ++part.attempt;
  part.decode_seen = false;
  part.place = {};
  part.job_tries = 0;
  if (delay_ns > 0) {
    part.at = stage::backoff;
    part.retry_ns = now_ns + delay_ns;
  } else {
    part.at = stage::submitted;
    send_submit(now_ns, number, part);
  }
  auto client = part.client;
  for (auto choice : others)
    open_branch(now_ns, client, {choice});
}

/// Before the next attempt, when this one failed for a reason that may last.
uint64_t session_core::backoff_ns(const branch& part) const {
  return to_ns(options_.times.retry) * std::min(8u, part.attempt + 1);
}

void session_core::withdraw_ticket(uint64_t now_ns, const ticket& id, ec outcome) {
  withdrawing_[id] = {outcome, now_ns + to_ns(options_.times.retry)};
  if (conductor_)
    out.to(*conductor_, withdraw{options_.self, id, outcome});
}

bool session_core::unfinished(const branch& part) const {
  const auto& request = *part.request;
  return std::any_of(part.choices.begin(), part.choices.end(),
                     [&](uint32_t choice) { return request.choices[choice].finished() == finish_reason::none; });
}

// -- the Conductor ----------------------------------------------------------------------------------------------------

void session_core::on(uint64_t now_ns, const conductor_hello& hello) {
  if (is_past(hello.from))
    return;
  auto is_new = conductor_ != hello.from;
  conductor_ = hello.from;
  auto answer = report{};
  answer.from = options_.self;
  answer.term = hello.term;
  answer.sequence = ++report_sequence_;
  answer.full = true;
  out.to(hello.from, std::move(answer));
  if (!is_new)
    return;
  // The new one knows nothing of what the old one had not placed.
  for (auto& [number, part] : branches_) {
    if (part.at != stage::submitted && part.at != stage::accepted)
      continue;
    part.at = stage::submitted;
    send_submit(now_ns, number, part);
  }
}

/// Whether a Conductor is known that reigns after this one.
bool session_core::is_past(const address& conductor) const {
  return conductor_ && conductor_->incarnation > conductor.incarnation;
}

void session_core::on(uint64_t, const accepted& answer) {
  if (is_past(answer.from))
    return; // It would end the asking, and who reigns now may not have heard.
  auto at = find(answer.id);
  if (at == branches_.end())
    out.to(answer.from, withdraw{options_.self, answer.id, ec::cancelled});
  else if (at->second.at == stage::submitted)
    at->second.at = stage::accepted;
}

void session_core::on(uint64_t now_ns, const placed& answer) {
  auto at = find(answer.id);
  if (at == branches_.end()) {
    // Of an attempt that is over: whoever placed it must undo it.
    marker("session: stale placement");
    out.to(answer.from, withdraw{options_.self, answer.id, ec::cancelled});
    return;
  }
  auto& [number, part] = *at;
  auto has_place = part.at == stage::placed || part.at == stage::running;
  if (!has_place && is_past(answer.from)) {
    marker("session: placement of the past");
    return; // Who reigns now has been asked, and knows nothing of it.
  }
  out.to(answer.from, placed_ack{options_.self, answer.id, answer.revision});
  if (has_place) {
    if (answer.term != part.place.term || answer.revision <= part.place.revision)
      return;
    part.place.revision = answer.revision;
    part.place.decode = answer.decode;
  } else {
    part.place = answer;
    part.at = stage::placed;
  }
  auto needs_prefill = !part.decode_seen;
  if (is_gone(part.place.decode) || (needs_prefill && is_gone(part.place.prefill))) {
    marker("session: placed on the dead");
    start_over(now_ns, number, backoff_ns(part)); // The Conductor may not have heard of it yet.
  } else if (!has_place) {
    send_job(now_ns, number, part);
  }
}

void session_core::on(uint64_t now_ns, const rejected& answer) {
  auto at = find(answer.id);
  if (at == branches_.end() || at->second.at == stage::placed || at->second.at == stage::running
      || is_past(answer.from))
    return;
  fail(now_ns, at->second.client, answer.reason, answer.detail, answer.retry_after_ns);
}

void session_core::on(uint64_t, const withdrawn& answer) {
  withdrawing_.erase(answer.id);
}

bool session_core::is_gone(const address& instance) const {
  auto at = gone_.find({instance.kind, instance.index});
  return at != gone_.end() && instance.incarnation <= at->second;
}

void session_core::on(uint64_t now_ns, const peer_down& news) {
  if (conductor_ == news.who) {
    conductor_.reset();
    return;
  }
  if (news.who.kind != role::prefill && news.who.kind != role::decode)
    return;
  auto& highest = gone_[{news.who.kind, news.who.index}];
  highest = std::max(highest, news.who.incarnation);
  auto lost = std::vector<uint64_t>{};
  for (const auto& [number, part] : branches_) {
    if (part.at != stage::placed && part.at != stage::running)
      continue;
    if (part.place.decode == news.who || (part.place.prefill == news.who && !part.decode_seen))
      lost.push_back(number);
  }
  for (auto number : lost) {
    marker(news.who.kind == role::prefill ? "session: prefill lost" : "session: decode lost");
    if (branches_.contains(number))
      start_over(now_ns, number, 0);
  }
}

// -- time -------------------------------------------------------------------------------------------------------------

void session_core::tick(uint64_t now_ns) {
  auto late = std::vector<uint64_t>{};
  for (const auto& [client, request] : requests_)
    if (request.deadline_ns <= now_ns)
      late.push_back(client);
  for (auto client : late) {
    marker("session: deadline");
    fail(now_ns, client, ec::deadline, "the request's deadline passed");
  }
  auto unheard = std::vector<uint64_t>{};
  for (auto& [number, part] : branches_) {
    if (part.retry_ns > now_ns)
      continue;
    if (part.at == stage::placed && ++part.job_tries > job_tries_max) {
      unheard.push_back(number); // Its death may have been told before its place was.
      continue;
    }
    if (part.at == stage::backoff)
      part.at = stage::submitted;
    if (part.at == stage::submitted)
      send_submit(now_ns, number, part);
    else if (part.at == stage::placed)
      send_job(now_ns, number, part);
  }
  for (auto number : unheard)
    if (branches_.contains(number))
      start_over(now_ns, number, 0);
  for (auto& [id, pending] : withdrawing_) {
    if (pending.retry_ns > now_ns || !conductor_)
      continue;
    pending.retry_ns = now_ns + to_ns(options_.times.retry);
    out.to(*conductor_, withdraw{options_.self, id, pending.outcome});
  }
}

session_status session_core::status() const {
  auto result = totals_;
  result.open = static_cast<uint32_t>(requests_.size());
  result.conductor_known = conductor_.has_value();
  for (const auto& [number, part] : branches_)
    result.waiting += part.at != stage::placed && part.at != stage::running;
  return result;
}

} // namespace perigee
