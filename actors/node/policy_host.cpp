// SPDX-License-Identifier: Apache-2.0
#include "actors/node/policy_host.hpp"

#include "actors/core/node_messages.hpp"

#include <caf/actor_cast.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>

#include <fmt/format.h>

namespace perigee {

policy_host_state::policy_host_state(caf::event_based_actor* self, policy_host_options options)
  : self_(self), options_(std::move(options)) {}

policy_host_state::~policy_host_state() {
  for (const auto& [guest, policy] : policies_)
    caf::anon_send_exit(policy, caf::exit_reason::user_shutdown);
}

caf::behavior policy_host_state::make_behavior() {
  self_->set_down_handler([this](const caf::down_msg& news) {
    end_policy_of(news.source);
    options_.report("a Conductor is gone");
  });
  return {[this](const node_hello& hello) { on_hello(hello); }};
}

void policy_host_state::on_hello(const node_hello& hello) {
  auto answer = node_hello{};
  answer.version = wire_version;
  answer.name = options_.policy;
  answer.node = self_;
  if (hello.version == wire_version) {
    end_policy_of(hello.node.address());
    auto policy = options_.make(self_->system());
    policies_.emplace(hello.node.address(), policy);
    answer.actors.push_back({{}, caf::actor_cast<caf::actor>(policy)});
    self_->monitor(hello.node);
    options_.report(fmt::format("decides for {}", hello.cluster));
  } else {
    options_.report(fmt::format("{} is refused: it speaks wire version {}, this process {}", hello.cluster,
                                hello.version, wire_version));
  }
  self_->send(hello.node, std::move(answer));
}

void policy_host_state::end_policy_of(const caf::actor_addr& guest) {
  auto found = policies_.find(guest);
  if (found == policies_.end())
    return;
  caf::anon_send_exit(found->second, caf::exit_reason::user_shutdown);
  policies_.erase(found);
}

} // namespace perigee
