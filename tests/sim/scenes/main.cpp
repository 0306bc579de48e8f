// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include "actors/core/message_types.hpp"
#include "tests/sim/scenes/broken_policies.hpp"

#include <doctest/doctest.h>

int main(int argc, char** argv) {
  perigee::init_message_types();
  perigee::sim::add_broken_policies();
  return doctest::Context(argc, argv).run();
}
