// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance.hpp"

#include "actors/sim/sim_network.hpp"

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A simulated process that writes without end. Its next transfer is posted when one completed, between two events.
class sim_party final : public fabric_party, transport::fabric_events {
public:
  sim_party(sim::world& home, sim::sim_network& network, uint32_t node, size_t bytes, std::byte fill)
    : home_(home), network_(network), node_(node), memory_(bytes, fill), fabric_(network.make_fabric(node, *this)),
      region_(fabric_->register_memory(memory_)), peer_(fabric_->open_peer("test")) {}

  std::string address() override {
    return fabric_->local_address(peer_);
  }
  transport::remote_region memory() override {
    return fabric_->remote(region_);
  }
  void connect(const std::string& address) override {
    fabric_->connect(peer_, address);
  }
  void write_forever(const transport::remote_region& target) override {
    target_ = target;
    for (int in_flight = 0; in_flight < 4; ++in_flight)
      post();
  }
  void stop() override {
    network_.freeze(node_);
  }
  void resume() override {
    network_.thaw(node_);
  }
  void kill() override {
    fabric_.reset();
    network_.thaw(node_);
  }

  void completed(uint64_t, status result, uint64_t) override {
    if (result.ok() && target_.bytes > 0)
      home_.at(0, [this, alive = std::weak_ptr{alive_}] {
        if (!alive.expired() && fabric_ != nullptr)
          post();
      });
  }
  void arrived(transport::peer_id, uint32_t) override {}
  void fenced(transport::peer_id) override {}

private:
  void post() {
    ++posted_;
    fabric_->post({posted_, transport::direction::write, peer_, region_, target_, {{0, 0, target_.bytes}}, posted_});
  }

  sim::world& home_;
  sim::sim_network& network_;
  const uint32_t node_;
  std::vector<std::byte> memory_;
  std::unique_ptr<transport::fabric> fabric_;
  transport::region_id region_;
  transport::peer_id peer_;
  transport::remote_region target_;
  uint32_t posted_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

template <uint64_t Seed>
class sim_fabric_world final : public fabric_world {
public:
  ~sim_fabric_world() override {
    clear();
  }
  std::unique_ptr<fabric_party> party(size_t bytes, std::byte fill) override {
    return std::make_unique<sim_party>(home_, *network_, ++nodes_, bytes, fill);
  }
  bool pump(const std::function<bool()>& done) override {
    using namespace std::chrono_literals;
    // The cases look through long logs, so they are not asked at every instant.
    auto instants = 0;
    return done() || home_.run_until([&] { return ++instants % 64 == 0 && done(); }, 20s) || done();
  }

protected:
  std::unique_ptr<transport::fabric> make(transport::fabric_events& events) override {
    return network_->make_fabric(++nodes_, events);
  }

private:
  sim::world home_{{.seed = Seed}};
  std::shared_ptr<sim::sim_network> network_ = sim::sim_network::make(home_, {});
  uint32_t nodes_ = 0;
};

} // namespace

FABRIC_CONFORMANCE("simulated, seed 1", sim_fabric_world<1>)
FABRIC_CONFORMANCE("simulated, seed 2", sim_fabric_world<2>)
FABRIC_CONFORMANCE("simulated, seed 3", sim_fabric_world<3>)
