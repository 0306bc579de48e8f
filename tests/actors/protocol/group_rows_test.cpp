// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/decode/decode_script.hpp"
#include "tests/actors/prefill/prefill_script.hpp"
#include "tests/actors/protocol/protocol_row.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

const auto the_job = prefill_script::grouped_job(1, 14);

/// A head whose other stage has been asked.
prefill_script asking() {
  auto it = prefill_script{};
  it.tell(peer_up{other_prefill, {}});
  it.tell(the_job);
  return it;
}

stage_ready ready() {
  return {other_prefill, the_job.id, 0, prefill_script::target(other_prefill, the_job)};
}

/// A head whose group goes.
prefill_script going() {
  auto it = asking();
  it.tell(ready());
  it.grant(the_job.id, 4);
  return it;
}

stage_progress progress(bool is_done) {
  return {other_prefill, the_job.id, is_done ? 14u : 8u, is_done, is_done ? 2u : 1u, 0, 1000, ec::none};
}

/// A head that has computed everything, as the other stage has: that is to go.
prefill_script computed() {
  auto it = going();
  auto where = it.only<stage_go>(other_prefill).next;
  for (auto chunk = 0u; chunk < 2; ++chunk)
    it.tell(arrived{where.immediates[chunk]});
  it.compute();
  it.tell(progress(true));
  return it;
}

/// A stage that has slots.
prefill_script asked() {
  auto it = prefill_script{};
  it.tell(peer_up{other_prefill, {}});
  it.tell(prefill_script::stage_of(the_job));
  return it;
}

stage_go go() {
  return {other_prefill, the_job.id, 0, prefill_script::target(the_decode, the_job),
          prefill_script::target(other_prefill, the_job)};
}

/// A stage that has computed its part.
prefill_script stage_done() {
  auto it = asked();
  it.tell(go());
  it.compute();
  it.move_all();
  return it;
}

} // namespace

PROTOCOL_ROW("stage_job") {
  for (auto is_ready : {true, false}) {
    auto it = asking();
    CHECK(repeats<stage_job>(it));
    if (is_ready)
      it.tell(ready());
    else
      it.tell(stage_left{other_prefill, the_job.id, true, 0});
    CHECK(is_silent<stage_job>(it));
  }
  auto stage = asked();
  stage.tell(prefill_script::stage_of(the_job));
  CHECK_EQ(stage.core.attempts(), 1);
  auto unheard = asking();
  for (auto i = 0; i < 40; ++i)
    unheard.tick_after(retry);
  CHECK(unheard.take_local<run_prefill>().empty());
  unheard.tick_after(retry);
  CHECK(unheard.take_local<run_prefill>().at(0).work.layers == kernels::layer_span{});
  auto bereaved = asking();
  bereaved.tell(peer_down{other_prefill});
  CHECK(bereaved.take_local<run_prefill>().at(0).work.layers == kernels::layer_span{});
}

PROTOCOL_ROW("stage_ready") {
  auto stage = asked();
  stage.tell(prefill_script::stage_of(the_job));
  CHECK_EQ(stage.count<stage_ready>(), 2);
  CHECK(is_silent<stage_ready>(stage));
  auto head = asking();
  for (auto i = 0; i < 2; ++i)
    head.tell(ready());
  CHECK_EQ(head.count<reserve>(), 1);
  stage.tell(peer_down{other_prefill});
  CHECK(stage.empty());
}

PROTOCOL_ROW("stage_go") {
  auto it = going();
  CHECK(repeats<stage_go>(it));
  it.tell(progress(false));
  for (auto i = 0; i < 3; ++i)
    it.tick_after(retry);
  CHECK_LE(it.count<stage_go>(), 1);
  it.tick_after(4 * retry);
  CHECK_EQ(it.count<stage_go>(), 1); // Now and then, to hear whether it lives.
  it.tell(progress(true));
  CHECK(is_silent<stage_go>(it));
  auto stage = asked();
  for (auto i = 0; i < 2; ++i)
    stage.tell(go());
  CHECK_EQ(stage.take_local<run_prefill>().size(), 2);
  CHECK_EQ(stage.count<stage_progress>(), 2);
  auto unheard = going();
  for (auto i = 0; i < 40; ++i)
    unheard.tick_after(retry);
  CHECK_EQ(unheard.count<job_failed>(), 0);
  unheard.tick_after(retry);
  CHECK_EQ(unheard.count<stage_release>(), 1);
  unheard.tell(stage_left{other_prefill, the_job.id, true, 0});
  CHECK_EQ(unheard.only<job_failed>(the_session).reason, ec::peer_lost);
  auto bereaved = going();
  bereaved.tell(peer_down{other_prefill});
  bereaved.tell(node_fenced{bereaved.only_local<fence_node>().id});
  CHECK_EQ(bereaved.only<job_failed>(the_session).reason, ec::peer_lost);
}

PROTOCOL_ROW("stage_progress") {
  auto stage = stage_done();
  CHECK(repeats<stage_progress>(stage));
  stage.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  CHECK(is_silent<stage_progress>(stage));
  auto failed = asked();
  failed.tell(go());
  failed.tell(done(failed.take_local<run_prefill>().at(0).work.id, {}, errc::invalid_argument));
  failed.forget();
  CHECK(repeats<stage_progress>(failed));
  auto head = computed();
  head.tell(progress(true));
  CHECK_EQ(head.count<stage_release>(), 1);
  CHECK_EQ(head.only<handed_over>(the_decode).pieces, 4);
  auto bereaved = stage_done();
  bereaved.tell(peer_down{other_prefill});
  CHECK(bereaved.empty());
}

PROTOCOL_ROW("stage_release") {
  auto it = computed();
  CHECK(repeats<stage_release>(it));
  it.tell(stage_left{other_prefill, the_job.id, true, 1});
  CHECK(is_silent<stage_release>(it));
  auto stage = stage_done();
  for (auto i = 0; i < 2; ++i)
    stage.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  CHECK(stage.empty());
  auto stranger = prefill_script{};
  stranger.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  CHECK(stranger.only<stage_left>(other_prefill).clean);
  stranger.tell(prefill_script::stage_of(the_job)); // Late.
  CHECK_EQ(stranger.count<stage_left>(), 1);
  CHECK(stranger.empty());
  auto bereaved = computed();
  bereaved.tell(peer_down{other_prefill});
  CHECK(is_silent<stage_release>(bereaved));
}

PROTOCOL_ROW("stage_left") {
  auto stage = stage_done();
  stage.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  CHECK(repeats<stage_left>(stage));
  stage.tell(prefill_script::stage_of(the_job));
  CHECK_EQ(stage.count<stage_left>(), 1);
  stage.tell(stage_left_ack{other_prefill, the_job.id});
  CHECK(is_silent<stage_left>(stage));
  auto head = computed();
  for (auto i = 0; i < 2; ++i)
    head.tell(stage_left{other_prefill, the_job.id, true, 0});
  head.forget();
  head.move_all();
  head.tell(joined{the_decode, the_job.id});
  CHECK(head.empty());
  auto bereaved = stage_done();
  bereaved.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  bereaved.tell(peer_down{other_prefill});
  CHECK(is_silent<stage_left>(bereaved));
}

PROTOCOL_ROW("stage_left_ack") {
  auto head = prefill_script{};
  for (auto i = 0; i < 2; ++i)
    head.tell(stage_left{other_prefill, the_job.id, true, 0}); // Whatever it was.
  CHECK_EQ(head.count<stage_left_ack>(), 2);
  auto stage = stage_done();
  stage.tell(stage_release{other_prefill, the_job.id, false, 0, {}});
  for (auto i = 0; i < 2; ++i)
    stage.tell(stage_left_ack{other_prefill, the_job.id});
  CHECK(is_silent<stage_left>(stage));
}
