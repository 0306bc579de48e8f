// SPDX-License-Identifier: Apache-2.0
#include "actors/core/interfaces.hpp"
#include "actors/sim/digest.hpp"
#include "actors/sim/quick_sum.hpp"
#include "actors/sim/world.hpp"
#include "tests/sim/gossip.hpp"
#include "tests/support/testing.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

using namespace perigee;
using namespace perigee::sim;
using namespace std::chrono_literals;

namespace {

template <class Feed>
std::string after(Feed feed) {
  digest sum;
  feed(sum);
  return sum.hex();
}

std::string read(const std::filesystem::path& file) {
  std::ostringstream result;
  result << std::ifstream{file}.rdbuf();
  return result.str();
}

} // namespace

TEST_CASE("digest: time, sender, receiver, type, content, order and timers all count") {
  auto what = caf::make_message(cancel_work{1});
  auto base = after([&](digest& sum) { sum.delivered(1, "a", "b", what); });
  CHECK(base == after([&](digest& sum) { sum.delivered(1, "a", "b", what); }));
  CHECK(base.size() == 64);
  CHECK(base != after([&](digest& sum) { sum.delivered(2, "a", "b", what); }));
  CHECK(base != after([&](digest& sum) { sum.delivered(1, "ab", "b", what); }));
  CHECK(base != after([&](digest& sum) { sum.delivered(1, "a", "c", what); }));
  CHECK(base != after([&](digest& sum) { sum.delivered(1, "a", "b", caf::make_message(cancel_work{2})); }));
  CHECK(base != after([&](digest& sum) { sum.delivered(1, "a", "b", caf::make_message(cancel_move{1})); }));
  CHECK(base != after([&](digest& sum) {
    sum.delivered(1, "a", "b", what);
    sum.fired(1, 1);
  }));
  CHECK(after([&](digest& sum) { sum.fired(1, 2); }) != after([&](digest& sum) { sum.fired(2, 2); }));
  CHECK(after([&](digest& sum) { sum.fired(1, 2); }) != after([&](digest& sum) { sum.fired(1, 3); }));
  auto other = caf::make_message(cancel_work{5});
  CHECK(after([&](digest& sum) {
          sum.delivered(1, "a", "b", what);
          sum.delivered(1, "a", "b", other);
        })
        != after([&](digest& sum) {
             sum.delivered(1, "a", "b", other);
             sum.delivered(1, "a", "b", what);
           }));
}

TEST_CASE("digest: of a long list of tokens every one counts, and not where it stands in memory") {
  auto sum_of = [](shared_list<token_id> tokens) {
    return after([&](digest& sum) {
      auto job = prefill_job{};
      job.tokens = tokens;
      for (int i = 0; i < 2; ++i) // The second time from what is known of it.
        sum.delivered(1, "a", "b", caf::make_message(job));
    });
  };
  auto tokens = std::vector<token_id>(1500, 7);
  auto base = sum_of(tokens);
  CHECK(base == sum_of(tokens));
  auto around = std::vector<token_id>(2000, 7);
  CHECK(base == sum_of(shared_list<token_id>{around}.part(300, 1500)));
  CHECK(base != sum_of(shared_list<token_id>{around}.part(0, 1501)));
  for (auto place : {0u, 511u, 512u, 1023u, 1024u, 1499u}) {
    auto changed = tokens;
    changed[place] = 8;
    CHECK(base != sum_of(changed));
  }
}

TEST_CASE("quick_sum: every bit and every length counts") {
  for (auto length : {0u, 1u, 31u, 32u, 33u, 100u}) {
    auto row = std::vector<std::byte>(length, std::byte{0});
    auto seen = std::set<std::array<uint64_t, 4>>{quick_sum(row)};
    for (auto bit = 0u; bit < length * 8; ++bit) {
      row[bit / 8] ^= std::byte{1} << bit % 8;
      seen.insert(quick_sum(row));
      row[bit / 8] ^= std::byte{1} << bit % 8;
    }
    CHECK(seen.size() == length * 8 + 1);
  }
  auto row = std::vector<std::byte>(96);
  for (auto i = 0u; i < row.size(); ++i)
    row[i] = static_cast<std::byte>(i);
  auto base = quick_sum(row);
  std::swap_ranges(row.begin(), row.begin() + 32, row.begin() + 32); // Their order counts.
  CHECK(base != quick_sum(row));
}

TEST_CASE("digest: zeros at the end count") {
  auto sum_of = [](std::string name) {
    return after([&](digest& sum) { sum.delivered(1, "a", name, caf::message{}); });
  };
  CHECK(sum_of(std::string(1, '\0')) != sum_of(std::string(2, '\0')));
}

TEST_CASE("digest: reading it in between does not change it") {
  auto what = caf::make_message(cancel_work{1});
  digest watched;
  digest alone;
  for (int i = 0; i < 5'000; ++i) {
    watched.delivered(7, "a", "b", what);
    alone.delivered(7, "a", "b", what);
    if (i % 1'000 == 0)
      CHECK(watched.hex().size() == 64);
  }
  CHECK(watched.hex() == alone.hex());
  CHECK(watched.events() == 5'000);
}

TEST_CASE("digest: a handle inside a message counts by its address, not by the number that the system gave it") {
  auto sum_of = [](int spawned_before, uint32_t index) {
    world home{{}};
    auto quiet = [](caf::event_based_actor*) -> caf::behavior { return {[](const peer_up&) {}}; };
    for (int i = 0; i < spawned_before; ++i)
      home.spawn("other", quiet);
    auto who = home.spawn("who", quiet);
    caf::anon_send(who, peer_up{address{role::prefill, index, 0, 1}, who});
    home.run_ready();
    return home.digest_hex();
  };
  CHECK(sum_of(0, 1) == sum_of(5, 1));
  CHECK(sum_of(0, 1) != sum_of(0, 2));
}

TEST_CASE("digest: the log has a line for each message and timer, equal for equal runs") {
  auto folder = testing::scratch_dir();
  auto run = [&](uint64_t seed, const char* name) {
    world home{{.seed = seed, .digest_log = (folder / name).string()}};
    gossip talk{home};
    home.run_for(20ms);
    return home.events();
  };
  auto events = run(1, "a");
  run(1, "b");
  run(2, "c");
  auto log = read(folder / "a");
  CHECK(static_cast<uint64_t>(std::count(log.begin(), log.end(), '\n')) == events);
  CHECK(log == read(folder / "b"));
  CHECK(log != read(folder / "c"));
  CHECK(log.find(" gossip-3 > gossip-5 perigee::cancel_work ") != std::string::npos);
  CHECK(log.find(" timer ") != std::string::npos);
}
