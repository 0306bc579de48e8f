// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"

#include <functional>
#include <map>
#include <random>
#include <set>

using namespace perigee;
using namespace perigee::testing;

namespace {

constexpr auto shard_here = address{role::shard, 4, the_decode.node, 44};

/// A decode core whose peers speak over a wire that loses, doubles and reorders, and whose neighbours answer late.
struct lossy_decode : decode_script {
  explicit lossy_decode(uint64_t seed) : decode_script(with(seed)), random(seed) {
    tell(conductor_hello{the_conductor, 5});
    if (seed % 2 == 0)
      tell(peer_up{shard_here, {}});
  }

  /// Every other one has a shard beside it, whose pool it can read in place. First tokens wait now and then.
  static decode_options with(uint64_t seed) {
    auto options = options_for(14, 3, true);
    options.slo_tbt_ns = 20 * ms;
    options.local_shard = shard_here.index;
    if (seed % 2 == 0)
      options.lent = lent_pool{shard_here.index, 100, 12};
    return options;
  }

  fetched answer_to(const fetch& ask) {
    auto news = some_lent(ask, [this](uint64_t bound) { return below(bound); });
    if (!news.lent.empty())
      lent.insert(ask.id);
    return news;
  }

  uint64_t below(uint64_t bound) {
    return random() % bound;
  }

  /// What its prefill instance knows of an attempt.
  struct attempt {
    reserve job;
    bool wrote = false;
    bool ended = false; ///< joined, or to be quiesced
    bool quiet = false; ///< quiesced was acknowledged
  };

  template <class Message>
  void post(const Message& message) {
    wire.push_back([this, message] { tell(message); });
  }

  void answer(const granted& news) {
    auto& at = attempts.at(news.id);
    if (at.wrote || at.ended)
      return;
    at.wrote = true;
    beside.push_back([this, immediate = news.immediate] { tell(arrived{immediate}); });
    post(announcement(at.job, 1));
  }
  void answer(const refused& news) {
    give_up(news.id);
  }
  void answer(const joined& news) {
    auto& at = attempts.at(news.id);
    at.quiet = !at.ended || at.quiet;
    at.ended = true;
  }
  void answer(const quiesced_ack& news) {
    attempts.at(news.id).quiet = true;
  }
  void answer(const token_batch& batch) {
    auto acks = token_acks{the_session, {}};
    for (const auto& item : batch.updates)
      acks.acks.push_back({item.id, item.choice, item.first + static_cast<uint32_t>(item.tokens.size()),
                           item.finish != finish_reason::none || below(30) == 0});
    post(acks);
  }
  template <class Other>
  void answer(const Other&) {}

  void give_up(const ticket& id) {
    attempts.at(id).ended = true;
    say_quiesced(id);
  }
  void say_quiesced(const ticket& id) {
    post(quiesced{the_prefill, id, below(3) > 0});
  }

  void pump() {
    for (auto& [to, message] : core.out.take())
      std::visit([&](const auto& content) { answer(content); }, message);
    for (auto& item : core.local)
      if (auto* work = std::get_if<publish>(&item))
        beside.push_back([this, id = work->id] { tell(published{id, 0}); });
      else if (auto* fence = std::get_if<fence_node>(&item))
        beside.push_back([this, id = fence->id] { tell(node_fenced{id}); });
      else if (auto* copy = std::get_if<run_copy>(&item))
        device.push_back({copy->work.id, 0});
      else if (auto* step = std::get_if<run_decode>(&item))
        device.push_back({step->work.id, step->work.rows.size()});
      else if (auto* chunk = std::get_if<run_prefill>(&item))
        device.push_back({chunk->work.id, chunk->work.samples.size()});
      else if (auto* ask = std::get_if<fetch>(&item))
        beside.push_back([this, ask = *ask] { tell(answer_to(ask)); });
      else if (auto* over = std::get_if<give_back>(&item))
        CHECK_EQ(lent.erase(over->id), 1);
    core.local.clear();
    REQUIRE(core.pool().check());
  }

  void compute_one() {
    auto [id, rows] = device.front();
    device.erase(device.begin());
    auto tokens = std::vector<token_id>{};
    for (auto i = size_t{0}; i < rows; ++i)
      tokens.push_back(below(12) == 0 ? end_token : 600);
    tell(done(id, std::move(tokens)));
  }

  void take_from(std::vector<std::function<void()>>& list, bool keep) {
    auto at = below(list.size());
    auto action = list[at];
    if (!keep)
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
    action();
  }

  void start() {
    auto number = 1 + below(10);
    auto attempt_number = highest[number] += below(3) == 0;
    auto made = reservation(number, static_cast<uint32_t>(1 + below(14)), static_cast<uint32_t>(1 + below(3)),
                            attempt_number, static_cast<token_id>(number * 50));
    made.deadline_ns = (1 + below(20'000)) * ms;
    auto [at, fresh] = attempts.try_emplace(made.id);
    if (fresh)
      at->second.job = made;
    post(at->second.job); // Late copies too.
  }

  /// A prompt to compute here, of which a shard may hold some.
  void start_own() {
    auto number = 11 + below(6);
    auto attempt_number = highest[number] += below(3) == 0;
    auto like = reservation(number, static_cast<uint32_t>(1 + below(30)), static_cast<uint32_t>(1 + below(2)),
                            attempt_number, static_cast<token_id>(number * 50));
    auto [at, fresh] = own_jobs.try_emplace(like.id);
    if (fresh) {
      auto& job = at->second;
      job.from = the_session;
      job.id = like.id;
      job.decode = the_decode;
      job.tokens = like.tokens;
      job.root = like.root;
      job.gen = like.gen;
      job.keys = chain_keys(job.root, job.tokens, 4);
      if (below(2) == 0)
        job.prefix = {{far_shard, static_cast<uint32_t>(below(job.keys.size() + 1))}};
      job.deadline_ns = (1 + below(20'000)) * ms;
    }
    post(at->second);
  }

  void act() {
    if (below(12) == 0)
      start_own();
    auto number = 1 + below(16);
    switch (below(10)) {
    case 0: start(); break;
    case 1:
      if (below(4) == 0)
        post(cancel{the_conductor, 5, ticket_of(number, highest[number])});
      break;
    case 2: tick_after(50 * ms); break;
    case 3:
      if (!wire.empty())
        wire.erase(wire.begin() + static_cast<std::ptrdiff_t>(below(wire.size())));
      break;
    case 4:
      if (!wire.empty())
        take_from(wire, true);
      break;
    case 5:
    case 6:
      if (!device.empty())
        compute_one();
      break;
    case 7:
      if (!beside.empty())
        take_from(beside, false);
      break;
    default:
      if (!wire.empty())
        take_from(wire, false);
    }
    pump();
  }

  /// Nothing is lost any more, and whatever did not join is given up until that is acknowledged.
  void settle() {
    for (auto i = 0; i < 120; ++i) {
      for (auto& [id, at] : attempts)
        if (!at.quiet) {
          at.ended = true;
          say_quiesced(id);
        }
      tick_after(250 * ms);
      pump();
      while (!wire.empty() || !beside.empty() || !device.empty()) {
        if (!wire.empty())
          take_from(wire, false);
        if (!beside.empty())
          take_from(beside, false);
        if (!device.empty())
          compute_one();
        pump();
      }
    }
  }

  std::mt19937_64 random;
  std::vector<std::function<void()>> wire;
  std::vector<std::function<void()>> beside;
  std::vector<std::pair<uint64_t, size_t>> device;
  std::map<ticket, attempt> attempts;
  std::map<ticket, prefill_job> own_jobs;
  std::map<uint64_t, uint32_t> highest;
  std::set<uint64_t> lent; ///< fetches that lent something, until it is given back
};

} // namespace

TEST_CASE("decode_core: whatever is lost, doubled or late, slots add up, and in the end all are free") {
  for (auto seed = uint64_t{1}; seed <= seeds(60); ++seed) {
    CAPTURE(seed);
    auto it = lossy_decode{seed};
    for (auto i = 0; i < 800; ++i)
      it.act();
    it.settle();
    CHECK(it.empty());
    CHECK(it.lent.empty());
    it.forget();
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<token_batch>(), 0);
    CHECK_GT(it.attempts.size(), 5);
    CHECK_GT(it.own_jobs.size(), 5);
  }
}
