// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include "actors/core/interfaces.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <doctest/doctest.h>

int main(int argc, char** argv) {
  caf::init_global_meta_objects<caf::id_block::perigee>();
  caf::core::init_global_meta_objects();
  return doctest::Context(argc, argv).run();
}
