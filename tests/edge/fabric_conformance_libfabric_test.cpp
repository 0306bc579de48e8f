// SPDX-License-Identifier: Apache-2.0
#include "tests/edge/fabric_conformance.hpp"
#include "transport/libfabric/libfabric_fabric.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>

using namespace perigee;
using namespace perigee::testing;

namespace {

constexpr auto provider = "tcp;ofi_rxm";

/// A real process, which signals stop, resume and kill wherever it stands.
class process_party final : public fabric_party {
public:
  /// `port` 0: any.
  process_party(size_t bytes, std::byte fill, uint16_t port = 0) {
    auto port_text = std::to_string(port);
    auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "edge_fabric_process";
    auto size = std::to_string(bytes);
    auto value = std::to_string(static_cast<int>(fill));
    auto to_child = std::array<int, 2>{};
    auto from_child = std::array<int, 2>{};
    REQUIRE_EQ(pipe2(to_child.data(), O_CLOEXEC), 0);
    REQUIRE_EQ(pipe2(from_child.data(), O_CLOEXEC), 0);
    child_ = fork();
    REQUIRE_GE(child_, 0);
    if (child_ == 0) {
      if (port != 0) {
        setenv("FI_TCP_PORT_LOW_RANGE", port_text.c_str(), 1);
        setenv("FI_TCP_PORT_HIGH_RANGE", port_text.c_str(), 1);
      }
      dup2(to_child[0], STDIN_FILENO);
      dup2(from_child[1], STDOUT_FILENO);
      execl(program.c_str(), program.c_str(), provider, size.c_str(), value.c_str(), nullptr);
      _exit(127);
    }
    close(to_child[0]);
    close(from_child[1]);
    commands_ = fdopen(to_child[1], "w");
    auto* answers = fdopen(from_child[0], "r");
    auto address = std::array<char, 1024>{};
    auto fields = fscanf(answers, "%1023s %lu %lu", address.data(), &memory_.key, &memory_.base);
    fclose(answers);
    REQUIRE_EQ(fields, 3);
    address_ = address.data();
    memory_.bytes = bytes;
  }

  ~process_party() override {
    kill();
    fclose(commands_);
  }

  std::string address() override {
    return address_;
  }
  transport::remote_region memory() override {
    return memory_;
  }
  void connect(const std::string& address) override {
    say("connect " + address);
  }
  void write_forever(const transport::remote_region& target) override {
    say("write " + std::to_string(target.key) + ' ' + std::to_string(target.base) + ' ' + std::to_string(target.bytes));
  }
  void stop() override {
    ::kill(child_, SIGSTOP);
    auto state = 0;
    REQUIRE_EQ(waitpid(child_, &state, WUNTRACED), child_); // it has stopped, not: it will
  }
  void resume() override {
    ::kill(child_, SIGCONT);
  }
  void kill() override {
    if (child_ <= 0)
      return;
    ::kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = 0;
  }

private:
  void say(const std::string& line) {
    REQUIRE_GT(fprintf(commands_, "%s\n", line.c_str()), 0);
    REQUIRE_EQ(fflush(commands_), 0);
  }

  pid_t child_ = 0;
  FILE* commands_ = nullptr;
  std::string address_;
  transport::remote_region memory_;
};

uint16_t free_port() {
  auto address = sockaddr_in{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto size = socklen_t{sizeof address};
  auto probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE_EQ(bind(probe, reinterpret_cast<sockaddr*>(&address), size), 0);
  REQUIRE_EQ(getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(probe);
  return ntohs(address.sin_port);
}

class libfabric_world final : public fabric_world {
public:
  std::unique_ptr<fabric_party> party(size_t bytes, std::byte fill) override {
    return std::make_unique<process_party>(bytes, fill);
  }
  bool pump(const std::function<bool()>& done) override {
    return wait_for_fabrics(done);
  }

protected:
  std::unique_ptr<transport::fabric> make(transport::fabric_events& events) override {
    return transport::make_libfabric({.provider = provider}, events);
  }
};

} // namespace

TEST_CASE(
  "fabric, libfabric tcp;ofi_rxm: a process that died and came back at the very same address is reached again") {
  auto world = libfabric_world{};
  auto& a = world.add(4096, std::byte{1});
  auto port = free_port();
  auto join = [&](fabric_party& other) {
    auto there = a->open_peer("party");
    other.connect(a->local_address(there));
    a->connect(there, other.address());
    return there;
  };
  auto read = [&](uint64_t id, transport::peer_id from, fabric_party& other) {
    a->post({id, transport::direction::read, from, a.region, other.memory(), {{0, 0, 4096}}, {}});
    REQUIRE(world.pump([&] { return a.log.completed_times(id) == 1; }));
    return a.log.result(id).ok();
  };
  auto first = std::make_unique<process_party>(4096, std::byte{2}, port);
  auto address = first->address();
  auto before = join(*first);
  CHECK(read(1, before, *first));
  CHECK_EQ(a.memory[0], std::byte{2});
  first->kill();
  auto second = std::make_unique<process_party>(4096, std::byte{3}, port);
  REQUIRE_EQ(second->address(), address);
  // Through the old peer nothing reaches the new process, whatever key is used.
  CHECK(!read(2, before, *first));
  CHECK(!read(3, before, *second));
  auto after = join(*second);
  CHECK(read(4, after, *second));
  CHECK_EQ(a.memory[0], std::byte{3});
  a->fence(before);
  REQUIRE(world.pump([&] { return a.log.fences().size() == 1; }));
  CHECK(read(5, after, *second));
}

FABRIC_CONFORMANCE("libfabric tcp;ofi_rxm", libfabric_world)
