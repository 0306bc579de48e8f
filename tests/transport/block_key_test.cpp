// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/base/block_key.hpp"

#include <set>

using namespace perigee;

TEST_CASE("block_key: a chain names whole prefixes, and only full blocks") {
  auto tokens = std::vector<token_id>(37);
  for (auto i = 0; i < 37; ++i)
    tokens[i] = 100 + i;
  auto root = root_key("model", "");
  auto keys = chain_keys(root, tokens, 16);
  REQUIRE_EQ(keys.size(), 2);
  CHECK_EQ(keys[0], child_key(root, std::span{tokens}.first(16)));
  CHECK_EQ(keys[1], child_key(keys[0], std::span{tokens}.subspan(16, 16)));
  auto other = tokens;
  other[3] = 0;
  auto changed = chain_keys(root, other, 16);
  CHECK(changed[0] != keys[0]);
  CHECK(changed[1] != keys[1]); // The same tokens after another prefix.
  CHECK(chain_keys(root_key("model", "tenant"), tokens, 16)[0] != keys[0]);
  CHECK(root_key("mode", "l") != root_key("model", ""));
}

TEST_CASE("block_key: the bytes hashed are the documented ones") {
  // Checked by hand: printf '5:model' | sha256sum.
  CHECK_EQ(to_string(root_key("model", "")), sha256_hex(std::as_bytes(std::span{"5:model", 7})).substr(0, 32));
  CHECK_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
