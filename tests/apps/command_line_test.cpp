// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/http_get.hpp"
#include "apps/perigee/launcher.hpp"
#include "apps/perigee/usage.hpp"
#include "tests/support/testing.hpp"

#include <poll.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

using namespace perigee::cli;

namespace {

std::string complaint_about(const std::string& text) {
  try {
    parse_endpoint(text, "127.0.0.1", "--listen");
  } catch (const usage_error& error) {
    return error.what();
  }
  return "";
}

} // namespace

TEST_CASE("parse_endpoint: host and port, the port alone, and IPv6 in brackets") {
  CHECK(parse_endpoint("0.0.0.0:80", "", "--listen").host == "0.0.0.0");
  CHECK(parse_endpoint("0.0.0.0:80", "", "--listen").port == 80);
  CHECK(parse_endpoint("9000", "127.0.0.1", "--listen").host == "127.0.0.1");
  CHECK(parse_endpoint("9000", "127.0.0.1", "--listen").port == 9000);
  CHECK(parse_endpoint("[::1]:8000", "", "--listen").host == "::1");
}

TEST_CASE("parse_endpoint: what is no endpoint is refused with the flag, the value and an example") {
  for (const char* text : {"", "host:", ":8000", "host:0", "host:65536", "host:80x", "host:-1"}) {
    auto message = complaint_about(text);
    CAPTURE(text);
    CHECK(message.starts_with("--listen: found \"" + std::string{text} + "\""));
    CHECK(message.find("127.0.0.1:8000") != std::string::npos);
  }
}

TEST_CASE("parse_url: the scheme, the port and the path may be left out") {
  auto url = parse_url("http://node1:8000/cluster");
  CHECK(url.host == "node1");
  CHECK(url.port == 8000);
  CHECK(url.path == "/cluster");
  CHECK(parse_url("node1").port == 80);
  CHECK(parse_url("node1").path == "/");
  CHECK(parse_url("http://[::1]").host == "::1");
  CHECK(parse_url("http://[::1]:81").port == 81);
  CHECK_THROWS_AS(parse_url("https://node1"), usage_error);
  CHECK_THROWS_AS(parse_url("http://node1:port"), usage_error);
}

TEST_CASE("launcher: a line for the other machine's shell keeps every argument whole") {
  CHECK(remote_shell_line("/a b", "perigee", {"node", "it's.conf", "--name", "$x"})
        == "cd '/a b' && exec 'perigee' 'node' 'it'\\''s.conf' '--name' '$x'");
}

TEST_CASE("launcher: loopback names are this machine, an unknown name is not") {
  CHECK(is_local_host("127.0.0.1"));
  CHECK(is_local_host("127.3.4.5"));
  CHECK(is_local_host("localhost"));
  CHECK(is_local_host("::1"));
  CHECK(!is_local_host("192.0.2.1")); // reserved for documentation (RFC 5737)
}

TEST_CASE("launcher: a node elsewhere runs through ssh, hears the end of its input, and its output comes back") {
  auto folder = perigee::testing::scratch_dir();
  auto ssh = folder / "ssh";
  // Stands for the real one: hands its last argument to a shell, as the other machine would.
  std::ofstream{ssh} << "#!/bin/sh\nfor last; do :; done\necho \"to $5\"\nexec sh -c \"$last\"\n";
  std::filesystem::permissions(ssh, std::filesystem::perms::owner_all);
  auto launcher = make_ssh_launcher(ssh.string(), "/bin/cat", folder.string());
  auto node = launcher->start({"far-away", {"-"}});
  CHECK(::write(node.input.get(), "still there\n", 12) == 12);
  node.input.reset();
  auto output = std::string{};
  auto readable = pollfd{node.output.get(), POLLIN, 0};
  for (char buffer[256]; ::poll(&readable, 1, 10'000) == 1;) {
    auto got = ::read(node.output.get(), buffer, sizeof buffer);
    if (got <= 0)
      break;
    output.append(buffer, static_cast<size_t>(got));
  }
  auto status = 0;
  ::waitpid(node.pid, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(output == "to far-away\nstill there\n");
}
