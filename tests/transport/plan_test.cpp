// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/plan.hpp"

using namespace perigee;
using namespace perigee::transport;

namespace {

std::vector<piece> walk(std::vector<piece> pieces, uint64_t bytes_max) {
  auto out = std::vector<piece>{};
  for (auto cursor = piece_cursor{std::move(pieces)}; !cursor.done();)
    out.push_back(cursor.next(bytes_max));
  return out;
}

bool same(const std::vector<piece>& a, const std::vector<piece>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const piece& x, const piece& y) {
    return x.local_offset == y.local_offset && x.remote_offset == y.remote_offset && x.bytes == y.bytes;
  });
}

transfer over(std::vector<piece> pieces) {
  return {7, direction::write, 1, 1, {1, 0, 1000}, std::move(pieces), {}};
}

} // namespace

TEST_CASE("plan: neighbours in both memories count as one piece, empty ones as none") {
  CHECK(same(walk({{0, 100, 10}, {10, 110, 5}, {15, 115, 0}, {15, 200, 5}, {30, 205, 5}}, 1000),
             {{0, 100, 15}, {15, 200, 5}, {30, 205, 5}}));
  CHECK(walk({}, 10).empty());
  CHECK(walk({{3, 3, 0}}, 10).empty());
}

TEST_CASE("plan: pieces are cut at the bound and cover every byte in order") {
  CHECK(same(walk({{0, 50, 25}, {100, 0, 10}}, 10), {{0, 50, 10}, {10, 60, 10}, {20, 70, 5}, {100, 0, 10}}));
}

TEST_CASE("plan: ranges are checked without wrapping around") {
  constexpr auto most = ~uint64_t{0};
  CHECK(check_transfer(over({{0, 0, 500}, {499, 999, 1}, {500, 1000, 0}}), 500).ok());
  for (const auto& wrong : {piece{0, 0, 501}, piece{500, 0, 1}, piece{0, 1000, 1}, piece{0, most, 2}, piece{most, 0, 2},
                            piece{1, 1, most}}) {
    auto result = check_transfer(over({{0, 0, 1}, wrong}), 500);
    CHECK_EQ(result.code, errc::invalid_argument);
    CHECK(result.context.find("piece 1") != std::string::npos);
    CHECK(result.context.find("transfer 7") != std::string::npos);
  }
  CHECK_EQ(total_bytes({{0, 0, most}, {0, 0, 2}}), most);
}

TEST_CASE("plan: a read with an immediate is refused") {
  auto work = over({{0, 0, 1}});
  work.immediate = 1;
  CHECK(check_transfer(work, 500).ok());
  work.op = direction::read;
  CHECK_EQ(check_transfer(work, 500).code, errc::invalid_argument);
}
