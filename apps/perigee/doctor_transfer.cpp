// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/doctor_checks.hpp"

#include "transport/bench.hpp"

#include <fmt/format.h>

namespace perigee::cli {

void check_transfer(const std::string& provider, findings& out) {
  constexpr double slow = 0.25; // of the limit; less points at a wrong interface or a fallback
  auto how = transport::bench_options{};
  how.provider = provider;
  how.sizes = {uint64_t{1} << 20};
  how.pool_bytes = uint64_t{32} << 20;
  how.runs = 3;
  try {
    auto row = transport::bench_provider(how).rows.front();
    auto is_slow = std::min(row.write_ratio(), row.read_ratio()) < slow;
    out.push_back(
      {is_slow ? verdict::warn : verdict::ok, "transfer",
       fmt::format("{} on 127.0.0.1, 1 MiB: write {:.2f} GB/s ({:.0f} % of plain TCP), read {:.2f} GB/s ({:.0f} %){}",
                   provider, row.write, 100 * row.write_ratio(), row.read, 100 * row.read_ratio(),
                   is_slow ? "; slow: is the machine busy? (perigee bench transfer)" : "")});
  } catch (const failure& error) {
    out.push_back({verdict::fail, "transfer", error.what()});
  }
}

} // namespace perigee::cli
