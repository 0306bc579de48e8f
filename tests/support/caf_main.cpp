// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include "actors/core/message_types.hpp"

#include <doctest/doctest.h>

int main(int argc, char** argv) {
  perigee::init_message_types();
  return doctest::Context(argc, argv).run();
}
