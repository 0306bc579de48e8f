// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/prefill/prefill_script.hpp"

#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A prefill core whose peers answer over a wire that loses, doubles and reorders, and whose neighbours answer late.
struct lossy_prefill : prefill_script {
  explicit lossy_prefill(uint64_t seed) : prefill_script(with(seed)), random(seed) {
    tell(conductor_hello{the_conductor, 5});
    tell(peer_up{local_shard, {}});
  }

  /// Every other one can read the local shard's pool in place, every third one computes long prompts layer by layer.
  static prefill_options with(uint64_t seed) {
    auto options = options_for(12, 5, true);
    if (seed % 3 == 0) {
      options.layout.layers = 4;
      options.by_layer = true;
    }
    if (seed % 2 == 0)
      options.lent = lent_pool{local_shard.index, 100, 11};
    return options;
  }

  uint64_t below(uint64_t bound) {
    return random() % bound;
  }

  fetched answer_to(const fetch& ask) {
    auto news = some_lent(ask, [this](uint64_t bound) { return below(bound); });
    if (!news.lent.empty())
      lent.insert(ask.id);
    return news;
  }

  template <class Message>
  void post(const Message& message) {
    wire.push_back([this, message] { tell(message); });
  }

  void answer(const address& by, const reserve& asked) {
    auto& room = rooms.try_emplace({asked.id, asked.revision}, below(3) > 0).first->second;
    if (over.contains({by, asked.id}))
      return post(refused{by, asked.id, asked.revision, ec::stale});
    if (!room)
      return post(refused{by, asked.id, asked.revision, ec::out_of_blocks});
    auto slots = std::vector<uint32_t>((asked.tokens.size() + 3) / 4, 7);
    post(granted{by, asked.id, {8, 0, 1 << 20}, std::move(slots), 55});
  }
  void answer(const address& by, const handed_over& news) {
    if (over.contains({by, news.id}))
      post(refused{by, news.id, 0, ec::stale});
    else
      post(joined{by, news.id});
  }
  void answer(const address& by, const quiesced& news) {
    over.insert({by, news.id});
    post(quiesced_ack{by, news.id});
  }
  void answer(const address& by, const redirect& asked) {
    if (below(4) == 0)
      return post(redirected{by, 5, asked.id, 0, ec::out_of_blocks, {}});
    post(redirected{by, 5, asked.id, asked.revision + 1, ec::none, below(2) == 0 ? the_decode : other_decode});
  }
  void answer(const address& by, const token_batch& batch) {
    auto acks = token_acks{by, {}};
    for (const auto& item : batch.updates)
      acks.acks.push_back({item.id, item.choice, item.first + static_cast<uint32_t>(item.tokens.size()),
                           item.finish != finish_reason::none});
    post(acks);
  }
  void answer(const address& by, const report& news) {
    post(report_ack{by, 5, news.sequence});
  }
  template <class Other>
  void answer(const address&, const Other&) {}

  /// What the core said is answered, sooner or later.
  void pump() {
    for (auto& [to, message] : core.out.take())
      std::visit([&, &who = to](const auto& content) { answer(who, content); }, message);
    for (const auto& work : take_local<fetch>())
      beside.push_back([this, work] { tell(answer_to(work)); });
    for (const auto& over : take_local<give_back>())
      CHECK_EQ(lent.erase(over.id), 1);
    for (const auto& work : take_local<publish>())
      beside.push_back([this, work] { tell(published{work.id, 0}); });
    for (const auto& part : take_local<publish_part>())
      beside.push_back([this, part] { tell(part_published{part.id, part.offset}); });
    for (const auto& work : take_local<move_blocks>())
      beside.push_back([this, work] {
        constexpr errc codes[] = {errc::peer_lost, errc::timed_out, errc::cancelled};
        tell(ended_move(work.id, below(20) == 0 ? codes[below(3)] : errc::none));
      });
    for (auto& item : take_local<run_prefill>()) {
      passages += item.work.passage == item.work.id;
      device.push_back(std::move(item.work));
    }
    core.local.clear(); // Cancelled or not, each is answered.
    REQUIRE(core.pool().check());
  }

  void compute_one() {
    auto work = std::move(device.front());
    device.pop_front();
    finish(work, std::vector<token_id>(work.samples.size(), below(6) == 0 ? end_token : 500));
  }

  void take_from(std::vector<std::function<void()>>& list, bool keep) {
    auto at = below(list.size());
    auto action = list[at];
    if (!keep)
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
    action();
  }

  void act() {
    auto number = 1 + below(8);
    switch (below(10)) {
    case 0: {
      auto attempt = attempts[number] += below(4) == 0;
      auto what = job(number, static_cast<uint32_t>(1 + below(24)), attempt, static_cast<token_id>(below(3) * 100));
      what.deadline_ns = (1 + below(8'000)) * ms;
      what.gen.choices.resize(1 + below(2));
      post(what);
      break;
    }
    case 1:
      if (below(4) == 0)
        post(cancel{the_conductor, 5, ticket_of(number, attempts[number])});
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

  /// Nothing is lost any more, and everything ends.
  void settle() {
    for (auto i = 0; i < 200; ++i) {
      tick_after(retry_ns);
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

  static constexpr auto retry_ns = 250 * ms;
  std::mt19937_64 random;
  std::vector<std::function<void()>> wire;
  std::vector<std::function<void()>> beside;
  std::deque<kernels::prefill_work> device;
  std::map<std::pair<ticket, uint32_t>, bool> rooms;
  std::set<std::pair<address, ticket>> over;
  std::map<uint64_t, uint32_t> attempts;
  uint64_t passages = 0;
  std::set<uint64_t> lent; ///< fetches that lent something, until it is given back
};

} // namespace

TEST_CASE("prefill_core: whatever is lost, doubled or late, slots add up, and in the end all are free") {
  auto computed = uint64_t{0};
  auto passages = uint64_t{0};
  for (auto seed = uint64_t{1}; seed <= seeds(60); ++seed) {
    CAPTURE(seed);
    auto it = lossy_prefill{seed};
    for (auto i = 0; i < 600; ++i)
      it.act();
    it.settle();
    CHECK(it.empty());
    CHECK(it.lent.empty());
    it.forget();
    it.tick_after(250 * ms);
    CHECK_EQ(it.count<quiesced>(), 0);
    CHECK_EQ(it.count<token_batch>(), 0);
    computed += it.over.size();
    CHECK((it.passages == 0 || seed % 3 == 0));
    passages += it.passages;
  }
  CHECK_GT(computed, 0);
  CHECK((passages > 0 || seeds(60) < 3));
}
