// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/world.hpp"
#include "transport/fabric.hpp"
#include "transport/plan.hpp"

#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace perigee::sim {

/// How bytes travel between simulated nodes, and what goes wrong. Everything that the contract of `transport::fabric` leaves
/// open is drawn, so that nobody comes to rely on it.
struct fabric_options {
  uint64_t bytes_per_second = 1'000'000'000; ///< of each node's port, each direction; shared equally by what uses it now
  uint64_t latency_ns_min = 2'000;
  uint64_t latency_ns_max = 10'000;
  uint64_t chunk_bytes_max = 64 << 10; ///< bytes become visible in chunks of at most this size, torn anywhere
  uint32_t transfers_max = 4096;       ///< outstanding per fabric
  uint32_t early_ppm = 500'000;        ///< writes that complete when the last byte left, delivered or not
  uint64_t arrival_jitter_ns_max = 0;  ///< `arrived` may be reported this much after the bytes, so out of order
  uint32_t break_ppm = 0;              ///< transfers in whose middle the connection breaks
  uint32_t wedge_ppm = 0;              ///< transfers in whose middle the connection stops for ever, without a word
  uint32_t hang_ppm = 500'000;         ///< ends of a connection that never hear that the other end died
  uint64_t notice_ns_min = 1'000'000;  ///< when the others hear it
  uint64_t notice_ns_max = 50'000'000;
  uint32_t linger_ppm = 500'000; ///< cancelled writes, and writes of dead nodes, of which more lands afterwards
  uint32_t linger_chunks_max = 8;
  uint64_t fence_ns_max = 1'000'000;
};

class sim_fabric;

/// The data network between the fabrics of a simulated cluster. One connection sends one transfer at a time, in the order in
/// which they were posted; connections share the ports of their nodes. Must outlive every run of the world; fabrics keep it
/// alive beyond that.
class sim_network : public std::enable_shared_from_this<sim_network> {
public:
  static std::shared_ptr<sim_network> make(world& home, fabric_options options);

  /// The fabric of a node; it reports to `events`, which must outlive it.
  std::unique_ptr<transport::fabric> make_fabric(uint32_t node, transport::fabric_events& events);

  /// Nothing moves between the two, in whichever direction, until `heal`; nobody is told.
  void cut(uint32_t a, uint32_t b);
  void heal(uint32_t a, uint32_t b);

  /// Nothing moves from or to the node, as if its process were stopped, until `thaw`.
  void freeze(uint32_t node);
  void thaw(uint32_t node);

  /// The node's fabric is dead: it reports nothing more, and its memory is not touched any more.
  void kill(uint32_t node);

  /// `hook(node, first byte, bytes)` is called before each contiguous range that is written to a node's memory.
  void on_landing(std::function<void(uint32_t, const std::byte*, uint64_t)> hook) {
    landing_ = std::move(hook);
  }

  void set_options(fabric_options options) {
    options_ = options;
  }

  struct counters {
    uint64_t chunks = 0;
    uint64_t late_chunks = 0;   ///< landed after their transfer had been reported as failed or cancelled
    uint64_t undelivered = 0;   ///< writes reported as done that never arrived
    uint64_t breaks = 0;
  };

  const counters& totals() const {
    return totals_;
  }

private:
  friend class sim_fabric;

  /// One posted transfer, until it was reported and its last chunk landed.
  struct job {
    transport::transfer work;
    transport::piece_cursor cursor;
    uint64_t bytes = 0;
    uint64_t sent = 0;
    uint64_t lands_at = 0; ///< when the last chunk sent so far lands
    uint64_t stop_at = 0;  ///< the connection fails when so much was sent
    bool started = false;
    bool breaks = false;
    bool wedges = false;
    bool early = false;
    bool sent_all = false;
    bool reported = false;
    bool cancelled = false;
  };
  using job_ptr = std::shared_ptr<job>;

  /// One end of a connection. Kept for ever: late chunks ask it whether they may land.
  struct endpoint {
    sim_fabric* owner = nullptr; ///< nothing once its fabric is gone
    uint32_t node = 0;
    uint64_t number = 0;
    transport::peer_id id = 0;
    uint64_t remote = 0; ///< number of the other end; 0 before `connect`
    bool closed = false; ///< fenced, or its fabric is gone
    bool broken = false;
    bool wedged = false;
    bool noticing = false; ///< it is settled whether and when it hears that the other end is gone
    bool sending = false;
    std::vector<job_ptr> jobs; ///< not reported yet, in order
  };

  struct chunk {
    std::vector<transport::piece> pieces;
    std::vector<std::byte> bytes;
    bool last = false;
  };

  struct port {
    uint64_t sending = 0;
    uint64_t receiving = 0;
  };

  sim_network(world& home, fabric_options options);

  endpoint& open(sim_fabric& owner, uint32_t node, transport::peer_id id);
  endpoint* find(uint64_t number);
  void connect(endpoint& from, uint64_t to);
  void post(endpoint& from, transport::transfer work);
  void cancel(endpoint& from, uint64_t id);
  void fence(endpoint& which);
  void retire(sim_fabric& owner);

  void advance(endpoint& from);
  void advance_all();
  job_ptr next_job(endpoint& from);
  bool stalled(const endpoint& a, const endpoint& b) const;
  void start(job& work);
  bool load(endpoint& from, endpoint& to, job& work, chunk& what);
  void send(endpoint& from, endpoint& to, const job_ptr& work);
  void sent(endpoint& from, const job_ptr& work, uint64_t bytes, bool last);
  void land(endpoint& from, uint64_t to, const job_ptr& work, const chunk& what);
  void place(uint32_t node, std::span<std::byte> memory, const chunk& what, bool reading);
  void land_write(endpoint& from, endpoint& to, const job_ptr& work, const chunk& what);
  void arrived(uint64_t at, uint32_t immediate);
  void linger(endpoint& from, const job_ptr& work);
  void notice(endpoint& which);
  void break_pair(endpoint& one, const status& why);
  void report(endpoint& from, const job_ptr& work, status outcome);
  uint64_t latency();

  world& home_;
  fabric_options options_;
  random_stream random_;
  counters totals_;
  std::map<uint64_t, std::unique_ptr<endpoint>> endpoints_;
  uint64_t endpoints_made_ = 0;
  uint64_t keys_made_ = 0;
  std::map<uint32_t, port> ports_;
  std::set<std::pair<uint32_t, uint32_t>> cuts_;
  std::set<uint32_t> frozen_;
  std::vector<sim_fabric*> fabrics_;
  std::function<void(uint32_t, const std::byte*, uint64_t)> landing_;
};

} // namespace perigee::sim
