// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

namespace perigee {

void conductor_core::undo_attempts(uint64_t now_ns, const request_id& request, uint32_t attempt_max,
                                   uint64_t delay_ns) {
  for (auto* entry : books_.placements_of(request))
    if (entry->id.attempt <= attempt_max)
      books_.cancel_at(*entry, now_ns + delay_ns);
}

void conductor_core::on(uint64_t now_ns, const withdraw& request) {
  out.to(request.from, withdrawn{options_.self, request.id});
  auto* at = find_request(request.id.request);
  if (at && at->request.id.attempt <= request.id.attempt)
    erase_request(request.id.request);
  // A finished request's instances report its end by themselves; only what does not is cancelled. News of its prompt may be
  // later than its last token.
  if (request.outcome == ec::none)
    for (auto* entry : books_.placements_of(request.id.request))
      if (entry->id == request.id && entry->prefill_open && !entry->computed) {
        books_.finished(*entry, now_ns);
        wake();
      }
  auto delay = request.outcome == ec::none ? 2 * to_ns(options_.times.retry) : 0;
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
  books_.drop_if_closed(*entry);
  wake();
}

void conductor_core::on(uint64_t now_ns, const redirect& request) {
  auto answer = redirected{};
  answer.from = options_.self;
  answer.term = options_.self.incarnation;
  answer.id = request.id;
  auto* entry = books_.placement_of(request.id);
  auto* owner = find_request(request.id.request);
  if (!entry || entry->cancel_at_ns || !owner || owner->request.id != request.id) {
    answer.reason = ec::stale;
    out.to(request.from, answer);
    return;
  }
  if (request.revision >= entry->revision) {
    const auto* best = static_cast<const books::member*>(nullptr);
    // A twin that decodes nothing may well compute prompts: it comes last.
    auto rank = [](const books::member& at) { return std::pair{at.last.twin > 0 && at.open == 0, at.tokens}; };
    for (const auto* at : books_.instances(role::decode))
      if (at->who != entry->decode && decode_has_room(*at, owner->request) && (!best || rank(*at) < rank(*best)))
        best = at;
    // It may have room when it is asked again. What is asked for is counted there already.
    const auto* same = books_.find(entry->decode);
    if (!best && same && is_used(*same) && (same->open <= 1 || same->tokens <= same->last.token_capacity))
      best = same;
    if (!best) {
      answer.reason = ec::out_of_blocks;
      out.to(request.from, answer);
      return;
    }
    ++redirections_;
    books_.move_decode(*entry, best->who);
    owner->answer.decode = entry->decode;
    owner->answer.revision = entry->revision;
    answer_placed(now_ns, *owner);
  }
  answer.revision = entry->revision;
  answer.decode = entry->decode;
  out.to(request.from, answer);
}

} // namespace perigee
