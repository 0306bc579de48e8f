// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/inspect_enum.hpp"
#include "actors/core/inspect_lists.hpp"
#include "transport/base/block_key.hpp"

#include <compare>
#include <cstdint>
#include <string>

namespace perigee {

enum class role : uint8_t { node, conductor, session, prefill, decode, shard, store_client, transport };
inline constexpr auto role_max = role::transport;

constexpr const char* to_string(role kind) noexcept {
  constexpr const char* names[] = {"node",   "conductor", "session",      "prefill",
                                   "decode", "shard",     "store-client", "transport"};
  return names[static_cast<size_t>(kind)];
}

/// Identity of a running actor. `index` counts within its role over the whole cluster, so (kind, index) names a place in
/// the configuration; `incarnation` tells apart what ran there at different times. `node` is its node's place in the
/// cluster file.
struct address {
  role kind = role::node;
  uint32_t index = 0;
  uint32_t node = 0;
  uint64_t incarnation = 0;
  friend auto operator<=>(const address&, const address&) = default;

  bool valid() const noexcept {
    return incarnation != 0;
  }
};

/// "prefill-2"
inline std::string name_of(const address& who) {
  return std::string{to_string(who.kind)} + '-' + std::to_string(who.index);
}

/// Unique over the life of a cluster: the incarnation of the session that owns the request, and its count there.
struct request_id {
  uint64_t session = 0;
  uint64_t number = 0;
  friend auto operator<=>(const request_id&, const request_id&) = default;
};

/// One try at a request. A higher attempt cancels the lower ones.
struct ticket {
  request_id request;
  uint32_t attempt = 0;
  friend auto operator<=>(const ticket&, const ticket&) = default;
};

/// "19-42/1": session incarnation, number, attempt.
inline std::string to_string(const ticket& id) {
  return std::to_string(id.request.session) + '-' + std::to_string(id.request.number) + '/'
         + std::to_string(id.attempt);
}

template <class Inspector>
bool inspect(Inspector& f, role& x) {
  return inspect_enum(f, x, role_max);
}

template <class Inspector>
bool inspect(Inspector& f, address& x) {
  return f.object(x).fields(f.field("kind", x.kind), f.field("index", x.index), f.field("node", x.node),
                            f.field("incarnation", x.incarnation));
}

template <class Inspector>
bool inspect(Inspector& f, request_id& x) {
  return f.object(x).fields(f.field("session", x.session), f.field("number", x.number));
}

template <class Inspector>
bool inspect(Inspector& f, ticket& x) {
  return f.object(x).fields(f.field("request", x.request), f.field("attempt", x.attempt));
}

template <class Inspector>
bool inspect(Inspector& f, block_key& x) {
  return f.object(x).fields(f.field("high", x.high), f.field("low", x.low));
}

} // namespace perigee
