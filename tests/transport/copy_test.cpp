// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"
#include "transport/local/copy.hpp"

#include <algorithm>
#include <vector>

using namespace perigee::transport;

TEST_CASE("copy: small and streamed copies move every byte and no other, at any alignment") {
  constexpr auto margin = size_t{130};
  for (auto bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{4096}, streaming_bytes_min - 1, streaming_bytes_min,
                     streaming_bytes_min + 1, 2 * streaming_bytes_min + 77})
    for (auto shift : {size_t{0}, size_t{1}, size_t{63}, size_t{64}}) {
      CAPTURE(bytes);
      CAPTURE(shift);
      auto from = std::vector<std::byte>(bytes + 2 * margin);
      for (auto i = size_t{0}; i < from.size(); ++i)
        from[i] = static_cast<std::byte>(i * 7 + i / 251);
      auto to = std::vector<std::byte>(bytes + 2 * margin, std::byte{0xee});
      auto expected = to;
      std::copy_n(from.begin() + 17, bytes, expected.begin() + static_cast<ptrdiff_t>(shift));
      copy_bytes(to.data() + shift, from.data() + 17, bytes);
      CHECK(to == expected);
    }
}
