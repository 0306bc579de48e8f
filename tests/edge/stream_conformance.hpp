// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/stream.hpp"
#include "tests/support/testing.hpp"

#include <functional>
#include <mutex>
#include <vector>

/// The suite that every stream passes, the simulated one as well as the real ones. A new kind of stream derives a
/// `stream_world`, which must be default-constructible, and writes `STREAM_CONFORMANCE("name", its_world)`.
namespace perigee::testing {

/// Remembers what a stream reported. Any thread.
class stream_log final : public kernels::stream_events {
public:
  struct event {
    uint64_t id = 0;
    bool done = false;
    uint32_t layer = 0;          ///< unless done
    kernels::work_result result; ///< if done
  };

  void layer_done(uint64_t id, uint32_t layer) override;
  void work_done(kernels::work_result result) override;

  std::vector<event> events() const;
  std::vector<kernels::work_result> results() const;
  bool done(uint64_t id) const;
  /// Of an item that was answered.
  kernels::work_result result(uint64_t id) const;
  /// Layers reported for an item, in order.
  std::vector<uint32_t> layers(uint64_t id) const;

private:
  mutable std::mutex mutex_;
  std::vector<event> events_;
};

/// One stream, its log, and how time passes for it.
class stream_world {
public:
  virtual ~stream_world() = default;

  /// Reports to `log`; at least 48 slots and room for 96 tokens of context.
  virtual kernels::stream& stream() = 0;
  virtual token_id vocabulary() const = 0;
  /// Lets time pass until `done()`, or until the world's patience is over. Returns whether it is done.
  virtual bool pump(const std::function<bool()>& done) = 0;

  stream_log log;
};

/// `pump` for streams with threads of their own.
bool wait_for_stream(const std::function<bool()>& done);

/// The cases. Each is told by the name that `STREAM_CONFORMANCE` gives it.
namespace stream_cases {

void items_are_answered_once_in_order(stream_world& world);
void layers_come_in_order(stream_world& world);
void chunks_make_the_whole(stream_world& world);
void decode_goes_on_where_prefill_ended(stream_world& world);
void a_batch_is_its_rows(stream_world& world);
void copies_are_whole_blocks(stream_world& world);
void earlier_positions_are_read_from_the_pool(stream_world& world);
void what_is_written_from_outside_is_read(stream_world& world);
void lent_blocks_are_read_and_never_written(stream_world& world);
void parts_make_the_whole(stream_world& world);
void passages_make_the_whole(stream_world& world);
void passages_end_once(stream_world& world);
void wrong_passages_are_refused(stream_world& world);
void choices_are_sampled_apart(stream_world& world);
void invalid_items_are_refused(stream_world& world);
void a_full_queue_refuses(stream_world& world);
void a_waiting_item_can_be_cancelled(stream_world& world);
void a_running_item_can_be_cancelled(stream_world& world);

} // namespace stream_cases

} // namespace perigee::testing

#define PERIGEE_STREAM_CASE(label, world_type, text, function)                                                         \
  TEST_CASE("stream, " label ": " text) {                                                                              \
    auto world = world_type{};                                                                                         \
    perigee::testing::stream_cases::function(world);                                                                   \
  }

#define STREAM_CONFORMANCE(label, W)                                                                                   \
  PERIGEE_STREAM_CASE(label, W, "items are answered once, in order of submission", items_are_answered_once_in_order)   \
  PERIGEE_STREAM_CASE(label, W, "a prefill reports its layers in order, then its end", layers_come_in_order)           \
  PERIGEE_STREAM_CASE(label, W, "a prefill in chunks gives what one at once gives", chunks_make_the_whole)             \
  PERIGEE_STREAM_CASE(label, W, "decode goes on where prefill ended", decode_goes_on_where_prefill_ended)              \
  PERIGEE_STREAM_CASE(label, W, "a batch gives what its rows give alone", a_batch_is_its_rows)                         \
  PERIGEE_STREAM_CASE(label, W, "a copy is the whole block and nothing else", copies_are_whole_blocks)                 \
  PERIGEE_STREAM_CASE(label, W, "KV of earlier positions is read from the pool",                                       \
                      earlier_positions_are_read_from_the_pool)                                                        \
  PERIGEE_STREAM_CASE(label, W, "KV that somebody else wrote and told of is read",                                      \
                      what_is_written_from_outside_is_read)                                                            \
  PERIGEE_STREAM_CASE(label, W, "blocks of lent memory are read and never written, or there is no lending",            \
                      lent_blocks_are_read_and_never_written)                                                          \
  PERIGEE_STREAM_CASE(label, W, "layers in parts, chunk by chunk, give what all at once give, or are refused",          \
                      parts_make_the_whole)                                                                            \
  PERIGEE_STREAM_CASE(label, W, "layer by layer in a few places, a prompt is what it is at once, or there are no passages", \
                      passages_make_the_whole)                                                                         \
  PERIGEE_STREAM_CASE(label, W, "a passage ends by its own id, at any time, and as many as may be are under way",      \
                      passages_end_once)                                                                               \
  PERIGEE_STREAM_CASE(label, W, "items that do not go on with a passage are refused and write nothing",                \
                      wrong_passages_are_refused)                                                                      \
  PERIGEE_STREAM_CASE(label, W, "choices are sampled each by its own number and seed", choices_are_sampled_apart)      \
  PERIGEE_STREAM_CASE(label, W, "items about what does not exist are refused and write nothing",                       \
                      invalid_items_are_refused)                                                                       \
  PERIGEE_STREAM_CASE(label, W, "a full queue refuses what is too much and keeps the rest", a_full_queue_refuses)      \
  PERIGEE_STREAM_CASE(label, W, "an item cancelled while it waits writes nothing", a_waiting_item_can_be_cancelled)    \
  PERIGEE_STREAM_CASE(label, W, "an item cancelled while it runs stops after a layer", a_running_item_can_be_cancelled)
