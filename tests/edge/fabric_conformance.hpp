// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/support/testing.hpp"
#include "transport/fabric.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

/// The suite that every fabric passes, the simulated one as well as the real ones (DESIGN: a simulated edge that is
/// kinder than the real one is a bug). A new kind of fabric derives a `fabric_world`, which must be
/// default-constructible, and writes `FABRIC_CONFORMANCE("name", its_world)` in one source file of an executable that
/// links these cases.
namespace perigee::testing {

/// Remembers what a fabric reported. Any thread.
class fabric_log final : public transport::fabric_events {
public:
  struct completion {
    uint64_t id = 0;
    status result;
    uint64_t bytes = 0;
  };
  struct arrival {
    transport::peer_id from = 0;
    uint32_t immediate = 0;
  };

  void completed(uint64_t id, status result, uint64_t bytes) override;
  void arrived(transport::peer_id from, uint32_t immediate) override;
  void fenced(transport::peer_id peer) override;

  std::vector<completion> completions() const;
  std::vector<arrival> arrivals() const;
  std::vector<transport::peer_id> fences() const;
  /// How many completions there were when that peer was reported as fenced.
  size_t completions_at_fence(transport::peer_id peer) const;

  size_t completed_times(uint64_t id) const;
  /// Of a transfer that completed.
  status result(uint64_t id) const;

  /// Called within `arrived`, so while nothing can have happened after it. Set before anything is posted.
  std::function<void(const arrival&)> on_arrival;

private:
  mutable std::mutex mutex_;
  std::vector<completion> completions_;
  std::vector<arrival> arrivals_;
  std::vector<std::pair<transport::peer_id, size_t>> fences_;
};

/// One process in a world: a fabric, its log, and memory it registered as `region`.
struct fabric_side {
  fabric_log log;
  std::vector<std::byte> memory;
  std::unique_ptr<transport::fabric> own; // goes first
  transport::region_id region = 0;

  transport::fabric* operator->() const {
    return own.get();
  }
  transport::remote_region remote() const {
    return own->remote(region);
  }
};

/// A process that the test commands but does not run: it writes all of its memory, over and over.
class fabric_party {
public:
  virtual ~fabric_party() = default;
  virtual std::string address() = 0;
  virtual transport::remote_region memory() = 0;
  virtual void connect(const std::string& address) = 0;
  /// From now on it writes its memory to the start of `target`, again and again, each time with the next immediate from
  /// 1 on.
  virtual void write_forever(const transport::remote_region& target) = 0;
  /// It does nothing more until `resume`, wherever it stands: in the middle of a transfer, if it can be caught there.
  virtual void stop() = 0;
  virtual void resume() = 0;
  /// It ends without a word. Also while stopped.
  virtual void kill() = 0;
};

/// Where fabrics live and time passes.
class fabric_world {
public:
  virtual ~fabric_world() = default;

  /// A process with `bytes` of registered memory, filled with `fill`. The world keeps it.
  fabric_side& add(size_t bytes, std::byte fill);

  /// Ends a process without a word: it reports and does nothing any more, its peers are not told by it.
  virtual void kill(fabric_side& victim);

  virtual std::unique_ptr<fabric_party> party(size_t bytes, std::byte fill) = 0;

  /// Lets time pass until `done()` or until the world's patience, some seconds of its time, is over. Returns whether it
  /// is done.
  virtual bool pump(const std::function<bool()>& done) = 0;

protected:
  virtual std::unique_ptr<transport::fabric> make(transport::fabric_events& events) = 0;

  /// Ends all processes. A world whose fabrics need it calls this in its destructor.
  void clear();

private:
  std::vector<std::unique_ptr<fabric_side>> sides_;
};

/// `pump` for fabrics with threads of their own: waits until a log changes, looks now and then, gives up after 20 s.
bool wait_for_fabrics(const std::function<bool()>& done);

/// The cases. Each is told by the name that `FABRIC_CONFORMANCE` gives it.
namespace fabric_cases {

void writes_and_reads_move_exactly_the_gather_list(fabric_world& world);
void an_immediate_follows_its_bytes(fabric_world& world);
void transfers_of_nothing_complete(fabric_world& world);
void many_transfers_in_flight_complete_once_each(fabric_world& world);
void three_talk_all_to_all(fabric_world& world);
void transfers_to_oneself_are_copies(fabric_world& world);
void a_post_waits_for_connect(fabric_world& world);
void a_full_queue_refuses(fabric_world& world);
void bytes_and_failures_are_counted(fabric_world& world);
void bad_calls_throw(fabric_world& world);

void ranges_are_checked(fabric_world& world);
void a_wrong_key_fails_alone(fabric_world& world);
void a_deregistered_region_is_out_of_reach(fabric_world& world);
void a_cancelled_transfer_never_lands(fabric_world& world);
void a_running_transfer_may_be_cancelled(fabric_world& world);
void a_fence_ends_what_is_queued(fabric_world& world);
void a_fence_ends_what_runs(fabric_world& world);
void a_peer_that_fenced_us_is_reached_no_more(fabric_world& world);
void a_dead_peer_harms_no_other(fabric_world& world);
void a_restarted_peer_is_a_new_one(fabric_world& world);
void a_late_write_never_lands_after_the_fence(fabric_world& world);
void a_writer_that_dies_half_way_leaves_no_arrival(fabric_world& world);
void a_silent_target_ends_by_fence(fabric_world& world);

} // namespace fabric_cases

} // namespace perigee::testing

#define PERIGEE_FABRIC_CASE(label, world_type, text, function)                                                         \
  TEST_CASE("fabric, " label ": " text) {                                                                              \
    auto world = world_type{};                                                                                         \
    perigee::testing::fabric_cases::function(world);                                                                   \
  }

#define FABRIC_CONFORMANCE(label, W)                                                                                   \
  PERIGEE_FABRIC_CASE(label, W, "writes and reads move exactly the bytes of their gather list",                        \
                      writes_and_reads_move_exactly_the_gather_list)                                                   \
  PERIGEE_FABRIC_CASE(label, W, "an immediate is reported after all bytes of its write, once",                         \
                      an_immediate_follows_its_bytes)                                                                  \
  PERIGEE_FABRIC_CASE(label, W, "a transfer of nothing completes, with and without an immediate",                      \
                      transfers_of_nothing_complete)                                                                   \
  PERIGEE_FABRIC_CASE(label, W, "many transfers in flight complete once each",                                         \
                      many_transfers_in_flight_complete_once_each)                                                     \
  PERIGEE_FABRIC_CASE(label, W, "three processes write and read each other's memory at once", three_talk_all_to_all)   \
  PERIGEE_FABRIC_CASE(label, W, "a transfer to oneself is a copy", transfers_to_oneself_are_copies)                    \
  PERIGEE_FABRIC_CASE(label, W, "a transfer posted before connect runs after it", a_post_waits_for_connect)            \
  PERIGEE_FABRIC_CASE(label, W, "a full queue refuses what is too much and keeps the rest", a_full_queue_refuses)      \
  PERIGEE_FABRIC_CASE(label, W, "bytes and failures are counted", bytes_and_failures_are_counted)                      \
  PERIGEE_FABRIC_CASE(label, W, "calls about what does not exist throw", bad_calls_throw)                              \
  PERIGEE_FABRIC_CASE(label, W, "a transfer outside a region is refused, others go on", ranges_are_checked)            \
  PERIGEE_FABRIC_CASE(label, W, "a wrong key fails and writes nothing, other peers go on", a_wrong_key_fails_alone)    \
  PERIGEE_FABRIC_CASE(label, W, "a deregistered region is out of reach", a_deregistered_region_is_out_of_reach)        \
  PERIGEE_FABRIC_CASE(label, W, "a transfer cancelled while it waits never lands", a_cancelled_transfer_never_lands)   \
  PERIGEE_FABRIC_CASE(label, W, "a cancelled running transfer completes once and writes nothing afterwards",           \
                      a_running_transfer_may_be_cancelled)                                                             \
  PERIGEE_FABRIC_CASE(label, W, "a fence completes what is queued, then reports", a_fence_ends_what_is_queued)         \
  PERIGEE_FABRIC_CASE(label, W, "a fence completes what runs, then reports", a_fence_ends_what_runs)                   \
  PERIGEE_FABRIC_CASE(label, W, "a peer that fenced us is reached no more, by no transfer",                            \
                      a_peer_that_fenced_us_is_reached_no_more)                                                        \
  PERIGEE_FABRIC_CASE(label, W, "a dead peer harms no other", a_dead_peer_harms_no_other)                              \
  PERIGEE_FABRIC_CASE(label, W, "a restarted peer is a new one", a_restarted_peer_is_a_new_one)                        \
  PERIGEE_FABRIC_CASE(label, W, "a write that comes late never lands after the fence",                                 \
                      a_late_write_never_lands_after_the_fence)                                                        \
  PERIGEE_FABRIC_CASE(label, W, "a writer that dies half way leaves no arrival behind",                                \
                      a_writer_that_dies_half_way_leaves_no_arrival)                                                   \
  PERIGEE_FABRIC_CASE(label, W, "transfers with a silent target end by the fence", a_silent_target_ends_by_fence)
