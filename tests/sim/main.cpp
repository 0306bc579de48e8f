// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include "actors/core/message_types.hpp"
#include "tests/sim/digests.hpp"
#include "tests/sim/gossip.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <string_view>

/// With `--gossip-digest=SEED` it prints the digest of one run and nothing else, so that a test can compare its own run
/// with one in another process; with `--digests` those of all `digest_scenarios`, for comparing builds (tools/check).
int main(int argc, char** argv) {
  perigee::init_message_types();
  constexpr std::string_view flag = "--gossip-digest=";
  if (argc == 2 && std::string_view{argv[1]}.starts_with(flag)) {
    std::puts(perigee::sim::gossip_digest(std::stoull(argv[1] + flag.size())).c_str());
    return 0;
  }
  if (argc == 2 && std::string_view{argv[1]} == "--digests") {
    std::fputs(perigee::sim::digest_lines().c_str(), stdout);
    return 0;
  }
  return doctest::Context(argc, argv).run();
}
