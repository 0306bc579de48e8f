// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance.hpp"
#include "tests/edge/fabric_conformance_writer.hpp"
#include "transport/local/local_fabric.hpp"

#include <thread>

using namespace perigee;
using namespace perigee::testing;

namespace {

/// A thread in the place of a process.
class local_party final : public fabric_party {
public:
  local_party(const std::shared_ptr<transport::local_network>& network, size_t bytes, std::byte fill)
    : memory_(bytes, fill), fabric_(transport::make_local_fabric(network, writer_)),
      region_(fabric_->register_memory(memory_)), peer_(fabric_->open_peer("test")) {}

  ~local_party() override {
    kill();
  }

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
    thread_ = std::thread{[this, target] { writer_.run(*fabric_, peer_, region_, target); }};
  }
  void stop() override {
    writer_.stop(true);
  }
  void resume() override {
    writer_.stop(false);
  }
  void kill() override {
    writer_.end();
    if (thread_.joinable())
      thread_.join();
    fabric_.reset();
  }

private:
  std::vector<std::byte> memory_;
  relentless_writer writer_;
  std::unique_ptr<transport::fabric> fabric_;
  transport::region_id region_;
  transport::peer_id peer_;
  std::thread thread_;
};

class local_world final : public fabric_world {
public:
  std::unique_ptr<fabric_party> party(size_t bytes, std::byte fill) override {
    return std::make_unique<local_party>(network_, bytes, fill);
  }
  bool pump(const std::function<bool()>& done) override {
    return wait_for_fabrics(done);
  }

protected:
  std::unique_ptr<transport::fabric> make(transport::fabric_events& events) override {
    return transport::make_local_fabric(network_, events);
  }

private:
  std::shared_ptr<transport::local_network> network_ = transport::make_local_network();
};

} // namespace

FABRIC_CONFORMANCE("local copy", local_world)
