// SPDX-License-Identifier: Apache-2.0
// The other process of the libfabric conformance suite: PROVIDER BYTES FILL. It prints "ADDRESS KEY BASE" and obeys the
// lines "connect ADDRESS" and "write KEY BASE BYTES"; it ends with its standard input or its parent.
#include "tests/edge/fabric_conformance_writer.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"
#include "transport/pool_memory.hpp"

#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>

using namespace perigee;

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 4)
    return 2;
  auto memory = transport::pool_memory{std::strtoull(argv[2], nullptr, 10)};
  std::memset(memory.bytes().data(), std::atoi(argv[3]), memory.bytes().size());
  auto writer = testing::relentless_writer{};
  auto fabric = transport::make_libfabric({.provider = argv[1]}, writer);
  auto region = fabric->register_memory(memory.bytes());
  auto peer = fabric->open_peer("test");
  auto own = fabric->remote(region);
  std::cout << fabric->local_address(peer) << ' ' << own.key << ' ' << own.base << std::endl;
  auto busy = std::thread{};
  for (auto word = std::string{}; std::cin >> word;) {
    if (word == "connect") {
      std::cin >> word;
      fabric->connect(peer, word);
    } else if (word == "write") {
      auto target = transport::remote_region{};
      std::cin >> target.key >> target.base >> target.bytes;
      busy = std::thread{[&, target] { writer.run(*fabric, peer, region, target); }};
    }
  }
  writer.end();
  if (busy.joinable())
    busy.join();
}
