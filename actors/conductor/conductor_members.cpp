// SPDX-License-Identifier: Apache-2.0
#include "actors/conductor/conductor_core.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace perigee {

namespace {

/// Its figures, without its lists.
void keep_figures(report& last, const report& news) {
  last.from = news.from;
  last.term = news.term;
  last.sequence = news.sequence;
  last.full = news.full;
  last.token_capacity = news.token_capacity;
  last.slots_total = news.slots_total;
  last.slots_free = news.slots_free;
  last.slots_transfer = news.slots_transfer;
  last.running = news.running;
  last.waiting = news.waiting;
  last.queued_tokens = news.queued_tokens;
  last.leases = news.leases;
  last.twin = news.twin;
  last.spare = news.spare;
  last.stages_max = news.stages_max;
}

} // namespace

void conductor_core::on(uint64_t now_ns, const peer_up& news) {
  auto& who = news.who;
  switch (who.kind) {
  case role::prefill:
  case role::decode: books_.member_up(who); break;
  case role::shard:
    books_.member_up(who);
    if (who.index >= shards_.size())
      shards_.resize(who.index + size_t{1});
    shards_[who.index] = who;
    break;
  case role::session: sessions_.insert(who); break;
  default: return;
  }
  members_changed_ = true;
  hello_retry_ns_[who] = now_ns;
  tick(now_ns);
}

void conductor_core::on(uint64_t now_ns, const peer_down& news) {
  auto& who = news.who;
  hello_retry_ns_.erase(who);
  books_.member_down(who, now_ns);
  wake();
  if (who.kind == role::shard && who.index < shards_.size() && shards_[who.index] == who) {
    shards_[who.index] = {};
    feeds_.erase(who.index);
    index_.drop_shard(who.index);
  }
  members_changed_ = true;
  if (who.kind != role::session)
    return;
  // Nobody waits for its requests any more.
  sessions_.erase(who);
  auto orphans = std::vector<request_id>{};
  for (const auto& [id, waiting] : requests_)
    if (waiting->request.from == who)
      orphans.push_back(id);
  std::sort(orphans.begin(), orphans.end());
  for (const auto& id : orphans)
    erase_request(id);
  for (auto* entry : books_.placements_of(who))
    books_.cancel_at(*entry, now_ns);
}

/// Before a decision: many members come at once.
void conductor_core::look_at_members() {
  if (!std::exchange(members_changed_, false))
    return;
  auto prefills = std::map<uint32_t, uint32_t>{};
  auto shards = std::map<uint32_t, uint32_t>{};
  prefill_capacity_ = decode_capacity_ = 0;
  for (const auto* at : books_.instances(prompt_role()))
    prefills[at->who.index] = at->who.node;
  for (const auto* at : books_.instances(role::prefill))
    if (at->ready)
      prefill_capacity_ = std::max(prefill_capacity_, at->last.token_capacity);
  for (const auto* at : books_.instances(role::decode))
    if (at->ready)
      decode_capacity_ = std::max(decode_capacity_, at->last.token_capacity);
  for (const auto& who : shards_)
    if (who.valid())
      shards[who.index] = who.node;
  where_.rebuild(prefills, shards);
  rooms_.rebuild(books_, [this](const books::member& at) { return is_used(at); });
}

bool conductor_core::settled(uint64_t now_ns) {
  if (settled_)
    return true;
  auto ready = std::count_if(books_.members().begin(), books_.members().end(),
                             [](const auto& item) { return item.second.ready; });
  settled_ = now_ns >= started_ns_ + to_ns(options_.times.settle)
             || (options_.members_expected > 0 && ready >= options_.members_expected);
  return settled_;
}

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
    at->ready = members_changed_ = true;
    hello_retry_ns_.erase(news.from);
    adopt(now_ns, news);
    books_.mark_changed(news.from);
    wake();
  }
  auto grew = at->last.token_capacity != news.token_capacity || at->last.spare != news.spare;
  keep_figures(at->last, news);
  if (grew)
    members_changed_ = true;
  learn(now_ns, news);
  for (const auto& item : news.ended) {
    auto* entry = books_.placement_of(item.id);
    if (!entry)
      continue;
    if (entry->prefill == news.from && entry->prefill_open)
      books_.close_prefill(*entry, now_ns);
    if (entry->decode == news.from && entry->decode_open) {
      if (!entry->adopted && item.tokens > entry->prompt_tokens)
        estimate_.learn_output(item.tokens - entry->prompt_tokens);
      books_.close_decode(*entry);
    }
    books_.drop_if_closed(*entry);
    wake();
  }
}

/// What a prefill instance that is known from now on has to do for a prompt, and who with it, of those that are known.
void conductor_core::adopt_prompt(placement& found, const load_item& item, const report& news) const {
  found.prefill = news.from;
  found.prefill_open = true;
  found.prompt_tokens = found.uncached_tokens = item.tokens;
  found.computed = item.tokens == 0;
  for (const auto& group : news.groups)
    if (group.id == item.id)
      std::copy_if(group.stages.begin(), group.stages.end(), std::back_inserter(found.stages),
                   [&](const address& who) { return books_.find(who) != nullptr; });
  found.times = options_.groups && !found.stages.empty() ? group_ns(item.tokens, 0, found.stages.size() + 1)
                                                          : group_times{estimate_.prefill_ns(item.tokens, 0)};
}

void conductor_core::adopt(uint64_t now_ns, const report& news) {
  for (const auto& item : news.active) {
    auto is_prefill = news.from.kind == role::prefill;
    if (auto* known = books_.placement_of(item.id)) {
      // The other side of it registered first.
      auto merged = *known;
      if (is_prefill && !merged.prefill_open && !merged.prefill.valid()) {
        adopt_prompt(merged, item, news);
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
      books_.drop_if_closed(*known);
      books_.open(std::move(merged), now_ns);
      continue;
    }
    auto found = placement{};
    found.adopted = true;
    found.number = ++numbers_;
    found.id = item.id;
    if (is_prefill) {
      adopt_prompt(found, item, news);
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

void conductor_core::learn(uint64_t now_ns, const report& news) {
  for (const auto& sample : news.prefills) {
    estimate_.learn(sample);
    auto* entry = books_.placement_of(sample.id);
    if (!entry || entry->prefill != news.from)
      continue;
    books_.computed(*entry, now_ns);
    wake();
  }
  for (const auto& sample : news.steps)
    estimate_.learn(sample);
  for (const auto& sample : news.transfers)
    estimate_.learn(sample);
}

void conductor_core::on(uint64_t, const index_events& news) {
  if (news.term != options_.self.incarnation || news.from.kind != role::shard)
    return;
  if (news.from.index >= shards_.size() || shards_[news.from.index] != news.from)
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
    auto known = std::min<uint64_t>(feed.next - news.sequence, news.events.size());
    index_.apply(std::span{news.events}.subspan(known), news.from.index);
    feed.next = std::max<uint64_t>(feed.next, news.sequence + news.events.size());
  }
  out.to(news.from, index_ack{options_.self, news.term, feed.epoch, feed.next, false});
}

} // namespace perigee
