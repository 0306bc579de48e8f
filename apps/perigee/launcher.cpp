// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/launcher.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace perigee::cli {

namespace {

struct pipe_ends {
  unique_fd read;
  unique_fd write;
};

pipe_ends make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw failure(errc::exhausted, fmt::format("no pipe for a child process: {}", std::strerror(errno)));
  return {unique_fd{ends[0]}, unique_fd{ends[1]}};
}

/// In the new process: never returns.
[[noreturn]] void become(const std::string& program, char* const* arguments, pid_t parent, int input, int output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) // it died before the line above
    ::_exit(127);
  auto none = sigset_t{};
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::execvp(program.c_str(), arguments);
  ::dprintf(STDERR_FILENO, "cannot run %s: %s\n", program.c_str(), std::strerror(errno));
  ::_exit(127);
}

child spawn(const std::string& program, std::vector<std::string> arguments) {
  auto pointers = std::vector<char*>{};
  for (auto& argument : arguments)
    pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  auto input = make_pipe();
  auto output = make_pipe();
  auto parent = ::getpid();
  auto pid = ::fork();
  if (pid < 0)
    throw failure(errc::exhausted, fmt::format("cannot make a process for {}: {}", program, std::strerror(errno)));
  if (pid == 0)
    become(program, pointers.data(), parent, input.read.get(), output.write.get());
  ::setpgid(pid, pid); // whichever of the two comes first
  ::fcntl(output.read.get(), F_SETFL, O_NONBLOCK);
  return {pid, std::move(output.read), std::move(input.write)};
}

std::string shell_quoted(const std::string& text) {
  auto out = std::string{"'"};
  for (auto c : text)
    out += c == '\'' ? std::string{"'\\''"} : std::string(1, c);
  return out + '\'';
}

class local_launcher : public launcher {
public:
  child start(const node_command& command) override {
    auto all = command.arguments;
    all.insert(all.begin(), "perigee");
    return spawn("/proc/self/exe", std::move(all));
  }
};

class ssh_launcher : public launcher {
public:
  ssh_launcher(std::string ssh_program, std::string remote_perigee, std::string directory)
    : ssh_(std::move(ssh_program)), perigee_(std::move(remote_perigee)), directory_(std::move(directory)) {}

  child start(const node_command& command) override {
    return spawn(ssh_, {"ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", command.host, "--",
                        remote_shell_line(directory_, perigee_, command.arguments)});
  }

private:
  std::string ssh_;
  std::string perigee_;
  std::string directory_;
};

/// The address alone, without port.
std::string address_bytes(const sockaddr& address) {
  if (address.sa_family == AF_INET)
    return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr), sizeof(in_addr)};
  if (address.sa_family == AF_INET6)
    return {reinterpret_cast<const char*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr), sizeof(in6_addr)};
  return {};
}

bool is_interface_address(const sockaddr& wanted) {
  auto* raw = static_cast<ifaddrs*>(nullptr);
  if (::getifaddrs(&raw) != 0)
    return false;
  auto all = std::unique_ptr<ifaddrs, decltype(&freeifaddrs)>{raw, freeifaddrs};
  for (auto* entry = all.get(); entry != nullptr; entry = entry->ifa_next)
    if (entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == wanted.sa_family
        && address_bytes(*entry->ifa_addr) == address_bytes(wanted))
      return true;
  return false;
}

} // namespace

std::string ready_line(std::string_view node) {
  return fmt::format("perigee: node {} ready", node);
}

std::unique_ptr<launcher> make_local_launcher() {
  return std::make_unique<local_launcher>();
}

std::unique_ptr<launcher> make_ssh_launcher(std::string ssh_program, std::string remote_perigee,
                                            std::string directory) {
  return std::make_unique<ssh_launcher>(std::move(ssh_program), std::move(remote_perigee), std::move(directory));
}

std::string remote_shell_line(const std::string& directory, const std::string& program,
                              const std::vector<std::string>& arguments) {
  auto line = fmt::format("cd {} && exec {}", shell_quoted(directory), shell_quoted(program));
  for (const auto& argument : arguments)
    line += ' ' + shell_quoted(argument);
  return line;
}

bool is_local_host(const std::string& host) {
  if (host == "localhost" || host.starts_with("127.") || host == "::1" || host == "0.0.0.0" || host == "::")
    return true;
  auto hints = addrinfo{};
  hints.ai_socktype = SOCK_STREAM;
  auto* raw = static_cast<addrinfo*>(nullptr);
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &raw) != 0)
    return false;
  auto found = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>{raw, freeaddrinfo};
  for (auto* entry = found.get(); entry != nullptr; entry = entry->ai_next)
    if (is_interface_address(*entry->ai_addr))
      return true;
  return false;
}

} // namespace perigee::cli
