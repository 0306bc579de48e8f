// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/gossip.hpp"

#include "actors/core/interfaces.hpp"
#include "actors/sim/link.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <numeric>

namespace perigee::sim {

namespace {

constexpr uint32_t gossips = 8;

struct gossip_state {
  static inline const char* name = "gossip";
  random_stream random{0};
  std::vector<caf::actor> others;
};

caf::behavior gossip_actor(caf::stateful_actor<gossip_state>* self, random_stream random, uint64_t* heard) {
  self->state.random = random;
  auto tell = [self](uint64_t news) {
    auto& others = self->state.others;
    self->send(others[self->state.random.below(others.size())], cancel_work{news});
  };
  return {
    [self](const peer_up& news) { self->state.others.push_back(news.handle); },
    [self, tell](atom::tick) {
      tell(self->state.random.next());
      self->delayed_send(self, caf::timespan{static_cast<int64_t>(self->state.random.between(1, 2'000'000))},
                         atom::tick_v);
    },
    [self, tell, heard](const cancel_work& news) {
      ++*heard;
      if (news.id % 4 != 0)
        tell(news.id / 4);
    },
  };
}

} // namespace

gossip::gossip(world& home) : counts_(gossips) {
  std::vector<caf::actor> all;
  for (uint32_t i = 0; i < gossips; ++i)
    all.push_back(home.spawn("gossip-" + std::to_string(i), gossip_actor,
                             random_stream{derived_seed(home.seed(), "gossip") + i}, &counts_[i]));
  for (const auto& one : all) {
    for (uint32_t i = 0; i < gossips; ++i)
      one->enqueue(nullptr, caf::make_message_id(),
                   caf::make_message(peer_up{address{role::node, i, i, 1}, all[i]}), nullptr);
    one->enqueue(nullptr, caf::make_message_id(), caf::make_message(atom::tick_v), nullptr);
  }
}

uint64_t gossip::heard() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

std::string gossip_digest(uint64_t seed) {
  world home{{.seed = seed}};
  gossip talk{home};
  home.run_for(std::chrono::seconds{1});
  return home.digest_hex();
}

} // namespace perigee::sim
