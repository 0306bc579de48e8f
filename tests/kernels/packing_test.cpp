// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/aligned_buffer.hpp"
#include "kernels/cpu/memory_nodes.hpp"
#include "kernels/model/model.hpp"
#include "kernels/model/synthetic.hpp"
#include "tests/support/testing.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <vector>

using namespace perigee;
using namespace perigee::kernels;
using numbers = std::vector<uint32_t>;

TEST_CASE(
  "model: whoever packs the weights hears how much is done, at most a hundred times, and the next hears nothing") {
  auto weights = random_model("15m");
  auto mutex = std::mutex{};
  auto shares = std::vector<double>{};
  auto tell = [&](double share) {
    auto lock = std::lock_guard{mutex};
    shares.push_back(share);
  };
  weights->pack(tell);
  REQUIRE(!shares.empty());
  CHECK_LE(shares.size(), 100);
  CHECK_GT(*std::ranges::min_element(shares), 0);
  CHECK_EQ(*std::ranges::max_element(shares), 1);
  auto told = shares.size();
  weights->pack(tell);
  CHECK_EQ(shares.size(), told);
}

TEST_CASE("model: whoever asks for the fingerprint first hears how far the weights have been read") {
  auto folder = std::filesystem::temp_directory_path() / ("perigee-progress-" + std::to_string(::getpid()));
  std::filesystem::copy(testing::source_dir() / "tests" / "data" / "models" / "gqa-f32", folder,
                        std::filesystem::copy_options::recursive);
  auto weights = model::load(folder); // copied: the digest of these files is not remembered
  auto shares = std::vector<double>{};
  auto fingerprint = weights->fingerprint(16, [&](double share) { shares.push_back(share); });
  std::filesystem::remove_all(folder);
  REQUIRE(!shares.empty());
  CHECK(std::ranges::is_sorted(shares));
  CHECK_GT(shares.front(), 0);
  CHECK_EQ(shares.back(), 1);
  auto told = shares.size();
  CHECK_EQ(weights->fingerprint(16, [&](double share) { shares.push_back(share); }), fingerprint);
  CHECK_EQ(shares.size(), told);
}

TEST_CASE("memory_nodes: lists of numbers are read as the system writes them") {
  using cpu::parse_number_list;
  CHECK(parse_number_list("0") == numbers{0});
  CHECK(parse_number_list("0-3,8,10-11") == numbers{0, 1, 2, 3, 8, 10, 11});
  CHECK(parse_number_list("").empty());
  CHECK(parse_number_list("x").empty());
  CHECK(parse_number_list("1,") == numbers{1});
  CHECK(parse_number_list("1-") == numbers{});
  CHECK(parse_number_list("2,99999999999") == numbers{2});
}

TEST_CASE(
  "memory_nodes: memory is spread only where there are several nodes, and the system is asked for whole pages") {
  auto memory = cpu::aligned_buffer<std::byte>{size_t{4} << 20};
  auto bytes = std::span{memory.data(), memory.size()};
  CHECK(!cpu::spread_over_memory_nodes(bytes, {}));
  CHECK(!cpu::spread_over_memory_nodes(bytes, {0}));
  CHECK(!cpu::spread_over_memory_nodes(bytes.first(100), {0, 0}));
  // A node twice is a list of two that every machine can grant: what it did stands in the map of the process's memory.
  if (!cpu::spread_over_memory_nodes(bytes.subspan(1), {0, 0}))
    return testing::skip("the system does not place memory");
  auto address = std::ostringstream{};
  address << std::hex << reinterpret_cast<uintptr_t>(memory.data()) + 4096;
  auto found = false;
  auto map = std::ifstream{"/proc/self/numa_maps"};
  for (auto line = std::string{}; std::getline(map, line);)
    found = found || line.starts_with(address.str() + " interleave:0");
  CHECK((!map.is_open() || found));
}
