// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/cache/store_fixture.hpp"

#include <string>

using namespace perigee;
using namespace perigee::testing::store;

namespace {

/// A publish of three blocks in two parts; the shard has the second block.
struct parts_fixture : fixture {
  parts_fixture() {
    auto ask = publish{1, keys(1, 3), {0, 0, 0}};
    ask.in_parts = true;
    core.start(owner, ask, now);
    op = one<allocate>().op;
  }

  void add(uint64_t offset) {
    core.add_part(owner, {1, offset, 32, {1000 + offset, 2000 + offset, 3000 + offset}}, now);
  }
  void allocate_all(std::vector<uint32_t> slots = {4, no_slot, 5}) {
    core.on_allocated({shard(0), op, region, std::move(slots), 77}, now);
  }
  /// Everything said since, in words.
  std::string said() {
    auto text = std::string{};
    for (auto& it : core.take_output())
      std::visit([&](auto& what) { say(what, text); }, it.what);
    REQUIRE(core.check());
    return text;
  }
  template <class Output>
  void say(const Output& what, std::string& text) {
    if constexpr (requires { what.message; })
      std::visit([&](const auto& message) { say(message, text); }, what.message);
    else if constexpr (std::is_same_v<Output, part_published>)
      text += "part " + std::to_string(what.offset) + ";";
    else if constexpr (std::is_same_v<Output, published>)
      text += "published " + std::to_string(what.stored) + ";";
    else if constexpr (std::is_same_v<Output, commit>)
      text += "commit " + std::to_string(what.pieces) + ";";
    else if constexpr (std::is_same_v<Output, release>)
      text += what.fence ? "release, fenced;" : "release;";
    else if constexpr (std::is_same_v<Output, move_blocks>) {
      text += "move;";
      moves.push_back(what);
    }
  }
  void moved_ok(size_t which, errc code = errc::none) {
    core.on_moved({moves.at(which).id, {code, ""}, 64}, now);
  }

  uint64_t op = 0;
  std::vector<move_blocks> moves;
};

} // namespace

TEST_CASE("store_core: a publish in parts writes each when it comes, and commits with the last") {
  auto it = parts_fixture{};
  it.add(0); // The shard has not answered yet.
  CHECK(it.said().empty());
  it.allocate_all();
  CHECK_EQ(it.said(), "move;");
  const auto& first = it.moves[0];
  CHECK_EQ(first.immediate, 77);
  REQUIRE_EQ(first.pieces.size(), 2);
  CHECK_EQ(first.pieces[0].local_offset, 1000);
  CHECK_EQ(first.pieces[0].remote_offset, 4 * 64);
  CHECK_EQ(first.pieces[1].local_offset, 3000);
  CHECK_EQ(first.pieces[1].remote_offset, 5 * 64);
  CHECK_EQ(first.pieces[1].bytes, 32);
  it.add(32);
  CHECK_EQ(it.said(), "move;");
  CHECK_EQ(it.moves[1].pieces[0].remote_offset, 4 * 64 + 32);
  it.moved_ok(1);
  CHECK_EQ(it.said(), "part 32;");
  it.moved_ok(0);
  CHECK_EQ(it.said(), "part 0;commit 2;");
  it.core.on_committed({shard(0), it.op}, it.now);
  CHECK_EQ(it.said(), "published 2;");
  CHECK_EQ(it.core.open_ops(), 0);
  CHECK_EQ(it.core.open_jobs(), 0);
}

TEST_CASE("store_core: parts of a publish that is over, or that nobody made room for, are answered and not written") {
  auto it = parts_fixture{};
  it.add(0);
  it.allocate_all({no_slot, no_slot, no_slot});
  CHECK_EQ(it.said(), "part 0;published 0;release;");
  it.add(32);
  CHECK_EQ(it.said(), "part 32;");
  CHECK_EQ(it.core.open_jobs(), 0);
}

TEST_CASE("store_core: a publish in parts that ends early gives its slots back, fenced if anything was written") {
  auto it = parts_fixture{};
  SUBCASE("before the shard answered") {
    it.add(0);
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release;part 0;published 0;");
  }
  SUBCASE("before anything was written") {
    it.allocate_all();
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release;published 0;");
  }
  SUBCASE("between two parts") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.moved_ok(0);
    it.said();
    it.core.cancel(owner, 1, it.now);
    CHECK_EQ(it.said(), "release, fenced;published 0;");
  }
  SUBCASE("while parts are written") {
    it.allocate_all();
    it.add(0);
    it.add(32);
    it.said();
    it.core.cancel(owner, 1, it.now);
    it.moved_ok(0);
    CHECK_EQ(it.said(), "part 0;");
    it.moved_ok(1);
    CHECK_EQ(it.said(), "part 32;published 0;release, fenced;");
  }
  SUBCASE("because a part could not be written") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.moved_ok(0, errc::cancelled);
    CHECK_EQ(it.said(), "part 0;published 0;release;");
    it.add(32);
    CHECK_EQ(it.said(), "part 32;");
  }
  SUBCASE("because a part may still land") {
    it.allocate_all();
    it.add(0);
    it.add(32);
    it.said();
    it.moved_ok(0, errc::timed_out);
    it.moved_ok(1);
    CHECK_EQ(it.said(), "part 0;part 32;published 0;release, fenced;");
  }
  SUBCASE("because its owner is gone") {
    it.allocate_all();
    it.add(0);
    it.said();
    it.core.owner_gone(owner, it.now);
    it.moved_ok(0);
    CHECK_EQ(it.said(), "release, fenced;");
  }
  CHECK_EQ(it.core.open_jobs(), 0);
  it.core.on_released({shard(0), it.op}, it.now);
  CHECK_EQ(it.core.open_ops(), 0);
}

TEST_CASE("store_core: a publish in parts ends with its shard, at once or with the part that is being written") {
  auto it = parts_fixture{};
  it.allocate_all();
  SUBCASE("between two parts") {
    it.core.peer_down(shard(0), it.now);
    CHECK_EQ(it.said(), "published 0;");
  }
  SUBCASE("while one is written") {
    it.add(0);
    it.said();
    it.core.peer_down(shard(0), it.now);
    CHECK(it.said().empty());
    it.add(32);
    CHECK_EQ(it.said(), "part 32;");
    it.moved_ok(0, errc::peer_lost);
    CHECK_EQ(it.said(), "part 0;published 0;");
  }
  CHECK_EQ(it.core.open_jobs(), 0);
  CHECK_EQ(it.core.open_ops(), 0);
}
