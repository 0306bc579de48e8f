// SPDX-License-Identifier: Apache-2.0
#pragma once

// How values of `transport` and `kernels`, which know no actors, travel in messages.

#include "actors/core/inspect_enum.hpp"
#include "kernels/stream.hpp"
#include "transport/fabric.hpp"

namespace perigee {

template <class Inspector>
bool inspect(Inspector& f, errc& x) {
  return inspect_enum(f, x, errc::unsupported);
}

template <class Inspector>
bool inspect(Inspector& f, status& x) {
  return f.object(x).fields(f.field("code", x.code), f.field("context", x.context));
}

} // namespace perigee

namespace perigee::transport {

template <class Inspector>
bool inspect(Inspector& f, direction& x) {
  return inspect_enum(f, x, direction::read);
}

template <class Inspector>
bool inspect(Inspector& f, remote_region& x) {
  return f.object(x).fields(f.field("key", x.key), f.field("base", x.base), f.field("bytes", x.bytes));
}

template <class Inspector>
bool inspect(Inspector& f, piece& x) {
  return f.object(x).fields(f.field("local_offset", x.local_offset), f.field("remote_offset", x.remote_offset),
                            f.field("bytes", x.bytes));
}

} // namespace perigee::transport

namespace perigee::kernels {

template <class Inspector>
bool inspect(Inspector& f, sampling_params& x) {
  return f.object(x).fields(
    f.field("temperature", x.temperature), f.field("top_p", x.top_p), f.field("top_k", x.top_k),
    f.field("repetition_penalty", x.repetition_penalty), f.field("presence_penalty", x.presence_penalty),
    f.field("frequency_penalty", x.frequency_penalty), f.field("seed", x.seed), f.field("min_tokens", x.min_tokens),
    f.field("stop_ids", x.stop_ids));
}

template <class Inspector>
bool inspect(Inspector& f, sample_request& x) {
  return f.object(x).fields(f.field("params", x.params), f.field("choice", x.choice),
                            f.field("generated", x.generated), f.field("prompt_tokens", x.prompt_tokens),
                            f.field("history", x.history));
}

template <class Inspector>
bool inspect(Inspector& f, layer_span& x) {
  return f.object(x).fields(f.field("first", x.first), f.field("end", x.end));
}

template <class Inspector>
bool inspect(Inspector& f, prefill_work& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("tokens", x.tokens), f.field("start", x.start),
                            f.field("blocks", x.blocks), f.field("samples", x.samples), f.field("layers", x.layers),
                            f.field("passage", x.passage));
}

template <class Inspector>
bool inspect(Inspector& f, decode_row& x) {
  return f.object(x).fields(f.field("token", x.token), f.field("position", x.position), f.field("blocks", x.blocks),
                            f.field("sample", x.sample));
}

template <class Inspector>
bool inspect(Inspector& f, decode_work& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("rows", x.rows));
}

template <class Inspector>
bool inspect(Inspector& f, copy_work& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("slots", x.slots));
}

template <class Inspector>
bool inspect(Inspector& f, work_result& x) {
  return f.object(x).fields(f.field("id", x.id), f.field("outcome", x.outcome), f.field("tokens", x.tokens),
                            f.field("busy_ns", x.busy_ns));
}

} // namespace perigee::kernels
