// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/gateway_part.hpp"

#include <utility>

namespace perigee::cli {

namespace {

edge_options edge_of(const gateway_part_options& options) {
  auto edge = edge_options{};
  edge.session = options.session;
  edge.model = options.served_name;
  edge.nodes = options.nodes;
  return edge;
}

} // namespace

gateway_part::gateway_part(caf::actor_system& system, gateway_part_options options)
  : facts_(facts_of(*options.model, options.served_name)), encoder_(options.model), edge_(system, edge_of(options)),
    server_(std::move(options.http), {facts_, encoder_, edge_, registry_}) {}

} // namespace perigee::cli
