// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/actors/core_script.hpp"

#include <set>
#include <string>

namespace perigee::testing {

/// The messages of docs/protocol.md that have a test of their row.
inline std::set<std::string>& tested_rows() {
  static std::set<std::string> names;
  return names;
}

struct row_registration {
  explicit row_registration(const char* message) {
    tested_rows().insert(message);
  }
};

inline constexpr auto retry = 250 * ms;

/// Whether the script sends the message once in each of the next retry intervals.
template <class Message, class Script>
bool repeats(Script& it) {
  it.template count<Message>();
  for (auto i = 0; i < 3; ++i) {
    it.tick_after(retry);
    if (it.template count<Message>() != 1)
      return false;
  }
  return true;
}

/// Whether it does not send it in the next two seconds.
template <class Message, class Script>
bool is_silent(Script& it) {
  it.template count<Message>();
  for (auto i = 0; i < 8; ++i)
    it.tick_after(retry);
  return it.template count<Message>() == 0;
}

} // namespace perigee::testing

/// The test of one row of docs/protocol.md: what repeats the message, what a double does, what follows when it never
/// comes and when the other side dies.
#define PROTOCOL_ROW(message)                                                                                          \
  static const perigee::testing::row_registration DOCTEST_ANONYMOUS(protocol_row_){message};                           \
  TEST_CASE("protocol: " message ": is repeated, doubled, missed and bereaved as its row says")
