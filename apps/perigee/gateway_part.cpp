// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/gateway_part.hpp"

#include <utility>

namespace perigee::cli {

namespace {

edge_options edge_of(const gateway_part_options& options) {
  auto edge = edge_options{};
  edge.model = options.served_name;
  edge.nodes = options.nodes;
  return edge;
}

} // namespace

gateway_part::gateway_part(gateway_part_options options)
  : facts_(facts_of(*options.model, options.served_name)), encoder_(options.model), edge_options_(edge_of(options)),
    server_(std::move(options.http), {facts_, encoder_, target_, registry_}) {}

void gateway_part::open(caf::actor_system& system, session_actor session) {
  edge_options_.session = std::move(session);
  edge_ = std::make_unique<gateway_edge>(system, edge_options_);
  target_.attach(*edge_);
}

} // namespace perigee::cli
