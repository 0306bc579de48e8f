// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/content_sink.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>

static_assert(std::endian::native == std::endian::little, "digests are to be equal on all machines");

namespace perigee::sim {

void byte_row::grow(size_t more) {
  room_ = std::max({2 * room_, size_ + more, size_t{1} << 16});
  auto bigger = std::make_unique_for_overwrite<std::byte[]>(room_);
  if (size_ > 0)
    std::memcpy(bigger.get(), bytes_.get(), size_);
  bytes_ = std::move(bigger);
}

const run_hashes::hash& run_hashes::of(const shared_list<token_id>& run) {
  if (auto known = known_.find(run.data()); known != known_.end())
    return known->second.value;
  if (known_.size() == kept_max)
    known_.clear();
  unsigned char whole[EVP_MAX_MD_SIZE];
  EVP_Digest(run.data(), run.size() * sizeof(token_id), whole, nullptr, EVP_sha256(), nullptr);
  auto& fresh = known_[run.data()];
  fresh.run = run;
  std::memcpy(fresh.value.data(), whole, fresh.value.size());
  return fresh.value;
}

bool content_sink::numbers(const shared_list<token_id>& all) {
  to_.put(static_cast<uint32_t>(all.size()));
  auto first = size_t{0};
  for (; first + run_hashes::run_tokens <= all.size(); first += run_hashes::run_tokens) {
    const auto& hash = runs_.of(all.part(first, run_hashes::run_tokens));
    to_.put(hash.data(), hash.size());
  }
  to_.put(all.data() + first, (all.size() - first) * sizeof(token_id));
  return true;
}

} // namespace perigee::sim
