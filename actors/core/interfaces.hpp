// SPDX-License-Identifier: Apache-2.0
#pragma once

// All messages between actors: atoms, type ids, and the typed interface of every actor. No message is declared elsewhere.

#include "actors/core/handover_messages.hpp"
#include "actors/core/membership.hpp"
#include "actors/core/node_messages.hpp"
#include "actors/core/pipeline_messages.hpp"
#include "actors/core/routing_messages.hpp"
#include "actors/core/status_messages.hpp"
#include "actors/core/store_messages.hpp"
#include "actors/core/transfer_messages.hpp"

#include <caf/type_id.hpp>
#include <caf/typed_actor.hpp>

// Ids are positions: append only, or nodes of two builds misread each other (the wire version in hello refuses them).
CAF_BEGIN_TYPE_ID_BLOCK(perigee, caf::first_custom_type_id)

CAF_ADD_ATOM(perigee, perigee::atom, attach)
CAF_ADD_ATOM(perigee, perigee::atom, drain)
CAF_ADD_ATOM(perigee, perigee::atom, get_decision)
CAF_ADD_ATOM(perigee, perigee::atom, get_status)
CAF_ADD_ATOM(perigee, perigee::atom, tick)

CAF_ADD_TYPE_ID(perigee, (perigee::peer_up))
CAF_ADD_TYPE_ID(perigee, (perigee::peer_down))
CAF_ADD_TYPE_ID(perigee, (perigee::conductor_hello))
CAF_ADD_TYPE_ID(perigee, (perigee::report))
CAF_ADD_TYPE_ID(perigee, (perigee::report_ack))

CAF_ADD_TYPE_ID(perigee, (perigee::open_request))
CAF_ADD_TYPE_ID(perigee, (perigee::close_request))
CAF_ADD_TYPE_ID(perigee, (perigee::client_text))
CAF_ADD_TYPE_ID(perigee, (perigee::client_finish))
CAF_ADD_TYPE_ID(perigee, (perigee::client_end))
CAF_ADD_TYPE_ID(perigee, (perigee::client_error))

CAF_ADD_TYPE_ID(perigee, (perigee::submit))
CAF_ADD_TYPE_ID(perigee, (perigee::accepted))
CAF_ADD_TYPE_ID(perigee, (perigee::placed))
CAF_ADD_TYPE_ID(perigee, (perigee::placed_ack))
CAF_ADD_TYPE_ID(perigee, (perigee::rejected))
CAF_ADD_TYPE_ID(perigee, (perigee::withdraw))
CAF_ADD_TYPE_ID(perigee, (perigee::withdrawn))
CAF_ADD_TYPE_ID(perigee, (perigee::cancel))
CAF_ADD_TYPE_ID(perigee, (perigee::cancelled))
CAF_ADD_TYPE_ID(perigee, (perigee::redirect))
CAF_ADD_TYPE_ID(perigee, (perigee::redirected))
CAF_ADD_TYPE_ID(perigee, (perigee::instance_load))
CAF_ADD_TYPE_ID(perigee, (perigee::route_query))
CAF_ADD_TYPE_ID(perigee, (perigee::route_decision))

CAF_ADD_TYPE_ID(perigee, (perigee::prefill_job))
CAF_ADD_TYPE_ID(perigee, (perigee::job_ack))
CAF_ADD_TYPE_ID(perigee, (perigee::job_failed))
CAF_ADD_TYPE_ID(perigee, (perigee::reserve))
CAF_ADD_TYPE_ID(perigee, (perigee::granted))
CAF_ADD_TYPE_ID(perigee, (perigee::refused))
CAF_ADD_TYPE_ID(perigee, (perigee::handed_over))
CAF_ADD_TYPE_ID(perigee, (perigee::joined))
CAF_ADD_TYPE_ID(perigee, (perigee::quiesced))
CAF_ADD_TYPE_ID(perigee, (perigee::quiesced_ack))
CAF_ADD_TYPE_ID(perigee, (perigee::token_batch))
CAF_ADD_TYPE_ID(perigee, (perigee::token_acks))

CAF_ADD_TYPE_ID(perigee, (perigee::run_prefill))
CAF_ADD_TYPE_ID(perigee, (perigee::run_decode))
CAF_ADD_TYPE_ID(perigee, (perigee::run_copy))
CAF_ADD_TYPE_ID(perigee, (perigee::cancel_work))
CAF_ADD_TYPE_ID(perigee, (perigee::layer_done))
CAF_ADD_TYPE_ID(perigee, (perigee::work_done))

CAF_ADD_TYPE_ID(perigee, (perigee::lease))
CAF_ADD_TYPE_ID(perigee, (perigee::leased))
CAF_ADD_TYPE_ID(perigee, (perigee::release))
CAF_ADD_TYPE_ID(perigee, (perigee::released))
CAF_ADD_TYPE_ID(perigee, (perigee::allocate))
CAF_ADD_TYPE_ID(perigee, (perigee::allocated))
CAF_ADD_TYPE_ID(perigee, (perigee::commit))
CAF_ADD_TYPE_ID(perigee, (perigee::committed))
CAF_ADD_TYPE_ID(perigee, (perigee::index_events))
CAF_ADD_TYPE_ID(perigee, (perigee::index_ack))
CAF_ADD_TYPE_ID(perigee, (perigee::fetch))
CAF_ADD_TYPE_ID(perigee, (perigee::fetched))
CAF_ADD_TYPE_ID(perigee, (perigee::publish))
CAF_ADD_TYPE_ID(perigee, (perigee::published))
CAF_ADD_TYPE_ID(perigee, (perigee::cancel_store))

CAF_ADD_TYPE_ID(perigee, (perigee::move_blocks))
CAF_ADD_TYPE_ID(perigee, (perigee::moved))
CAF_ADD_TYPE_ID(perigee, (perigee::cancel_move))
CAF_ADD_TYPE_ID(perigee, (perigee::arrived))
CAF_ADD_TYPE_ID(perigee, (perigee::fence_node))
CAF_ADD_TYPE_ID(perigee, (perigee::node_fenced))
CAF_ADD_TYPE_ID(perigee, (perigee::fabric_hello))
CAF_ADD_TYPE_ID(perigee, (perigee::fabric_hello_ack))
CAF_ADD_TYPE_ID(perigee, (perigee::fabric_completed))
CAF_ADD_TYPE_ID(perigee, (perigee::fabric_arrived))
CAF_ADD_TYPE_ID(perigee, (perigee::fabric_fenced))

CAF_ADD_TYPE_ID(perigee, (perigee::cluster_status))
CAF_ADD_TYPE_ID(perigee, (perigee::decision_record))
CAF_ADD_TYPE_ID(perigee, (perigee::session_status))
CAF_ADD_TYPE_ID(perigee, (perigee::transport_status))

CAF_ADD_TYPE_ID(perigee, (perigee::client_opened))
// To an edge: look at what your own threads left for you.
CAF_ADD_ATOM(perigee, perigee::atom, wake)

CAF_ADD_TYPE_ID(perigee, (perigee::node_hello))

CAF_ADD_TYPE_ID(perigee, (perigee::client_texts))

CAF_ADD_TYPE_ID(perigee, (perigee::stage_job))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_ready))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_go))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_progress))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_release))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_left))
CAF_ADD_TYPE_ID(perigee, (perigee::stage_left_ack))

CAF_ADD_TYPE_ID(perigee, (perigee::instance_loads))

CAF_ADD_TYPE_ID(perigee, (perigee::borrow))
CAF_ADD_TYPE_ID(perigee, (perigee::lent_blocks))
CAF_ADD_TYPE_ID(perigee, (perigee::return_blocks))
CAF_ADD_TYPE_ID(perigee, (perigee::give_back))
CAF_ADD_TYPE_ID(perigee, (perigee::publish_part))
CAF_ADD_TYPE_ID(perigee, (perigee::part_published))

CAF_END_TYPE_ID_BLOCK(perigee)

namespace perigee {

/// What every actor with an address understands.
using peer_listener = caf::typed_actor<
  // Another actor of the cluster is there.
  caf::result<void>(peer_up),
  // It is gone.
  caf::result<void>(peer_down),
  // The actor's own timer.
  caf::result<void>(atom::tick)>;

/// One routing policy at work: a copy of the Conductor's books and one decision function.
using policy_actor = caf::typed_actor<
  // Replaces what the policy knows about some instances.
  caf::result<void>(instance_loads),
  // Drops an instance.
  caf::result<void>(peer_down),
  // Decides about one request.
  caf::result<route_decision>(route_query)>;

/// Global scheduler: one per cluster. Owns every unplaced request, the books and the prefix index.
using conductor_actor = peer_listener::extend<
  // A session asks for a place.
  caf::result<void>(submit),
  // The session knows the place.
  caf::result<void>(placed_ack),
  // The request is over, or is to be undone.
  caf::result<void>(withdraw),
  // A prefill instance's decode side fell through.
  caf::result<void>(redirect),
  // An instance undid an attempt.
  caf::result<void>(cancelled),
  // Load of an instance or shard, and what ended there.
  caf::result<void>(report),
  // What a shard stored and evicted.
  caf::result<void>(index_events),
  // For people: everything the Conductor knows of its members.
  caf::result<cluster_status>(atom::get_status),
  // The newest decision about a request.
  caf::result<decision_record>(atom::get_decision, uint64_t, uint64_t)>;

/// Owns the requests of one gateway from submit to end.
using session_actor = peer_listener::extend<
  // A client's request; the sender gets the `client_*` messages.
  caf::result<void>(open_request),
  // The client left.
  caf::result<void>(close_request),
  caf::result<void>(conductor_hello), caf::result<void>(accepted), caf::result<void>(placed),
  caf::result<void>(rejected), caf::result<void>(withdrawn), caf::result<void>(job_ack),
  caf::result<void>(job_failed), caf::result<void>(token_batch),
  // Refuses new requests from now on.
  caf::result<void>(atom::drain), caf::result<session_status>(atom::get_status)>;

/// One prefill worker: computes the KV of prompts and hands it over.
using prefill_actor = peer_listener::extend<
  caf::result<void>(conductor_hello), caf::result<void>(report_ack), caf::result<void>(prefill_job),
  caf::result<void>(cancel), caf::result<void>(redirected), caf::result<void>(granted), caf::result<void>(refused),
  caf::result<void>(joined), caf::result<void>(quiesced_ack), caf::result<void>(token_acks),
  caf::result<void>(fetched), caf::result<void>(published), caf::result<void>(part_published),
  caf::result<void>(moved), caf::result<void>(layer_done), caf::result<void>(work_done),
  // Between the instances that share the layers of a long prompt.
  caf::result<void>(stage_job), caf::result<void>(stage_ready), caf::result<void>(stage_go),
  caf::result<void>(stage_progress), caf::result<void>(stage_release), caf::result<void>(stage_left),
  caf::result<void>(stage_left_ack), caf::result<void>(cancelled), caf::result<void>(arrived),
  caf::result<void>(node_fenced),
  // How many attempts it holds.
  caf::result<uint64_t>(atom::get_status)>;

/// One decode worker: continuous batching; computes prompts too, where their placement says so.
using decode_actor = peer_listener::extend<
  caf::result<void>(conductor_hello), caf::result<void>(report_ack), caf::result<void>(reserve),
  caf::result<void>(prefill_job), caf::result<void>(fetched),
  caf::result<void>(handed_over), caf::result<void>(quiesced), caf::result<void>(cancel),
  // A stage of a group whose head is gone writes no more.
  caf::result<void>(cancelled),
  caf::result<void>(token_acks), caf::result<void>(arrived), caf::result<void>(node_fenced),
  caf::result<void>(published), caf::result<void>(layer_done), caf::result<void>(work_done),
  // How many attempts it holds.
  caf::result<uint64_t>(atom::get_status)>;

/// One cache shard: a DRAM pool and the keys it holds.
using shard_actor = peer_listener::extend<
  caf::result<void>(conductor_hello), caf::result<void>(report_ack), caf::result<void>(lease),
  caf::result<void>(release), caf::result<void>(allocate), caf::result<void>(commit), caf::result<void>(index_ack),
  caf::result<void>(arrived), caf::result<void>(node_fenced),
  // From store clients whose instance reads the pool in place.
  caf::result<void>(borrow), caf::result<void>(return_blocks)>;

/// Moves blocks between one instance's pool and the shards: lease, read, release; allocate, write, commit. Or borrows
/// them from the shard beside it, until the instance gives them back.
using store_client_actor = peer_listener::extend<
  caf::result<void>(fetch), caf::result<void>(publish), caf::result<void>(publish_part),
  caf::result<void>(cancel_store), caf::result<void>(leased),
  caf::result<void>(released), caf::result<void>(allocated), caf::result<void>(committed),
  caf::result<void>(moved), caf::result<void>(give_back), caf::result<void>(lent_blocks)>;

/// One per node: credits, deadlines and fencing over the node's fabric.
using transport_actor = peer_listener::extend<
  // Makes the sender a client; answers its lane for immediates.
  caf::result<uint32_t>(atom::attach), caf::result<void>(move_blocks), caf::result<void>(cancel_move),
  caf::result<void>(fence_node), caf::result<void>(fabric_hello), caf::result<void>(fabric_hello_ack),
  caf::result<void>(fabric_completed), caf::result<void>(fabric_arrived), caf::result<void>(fabric_fenced),
  caf::result<transport_status>(atom::get_status)>;

/// A device stream as an actor, for one instance. Its device answers each item to that instance with `work_done`, a
/// prefill also with `layer_done`.
using stream_actor = caf::typed_actor<caf::result<void>(run_prefill), caf::result<void>(run_decode),
                                      caf::result<void>(run_copy), caf::result<void>(cancel_work)>;

} // namespace perigee
