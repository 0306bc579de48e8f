// SPDX-License-Identifier: Apache-2.0
#include "tests/actors/node/cluster_fixture.hpp"

#include "actors/policy/registry.hpp"
#include "kernels/model/detokenizer.hpp"

#include <thread>

namespace perigee::testing {

namespace {

class decoder final : public text_decoder {
public:
  decoder(std::shared_ptr<const kernels::model> model) : model_(std::move(model)), text_(model_->tokens(), false) {}

  std::string push(token_id token) override {
    return text_.push(token);
  }
  std::string flush() override {
    return text_.finish();
  }

private:
  std::shared_ptr<const kernels::model> model_;
  kernels::detokenizer text_;
};

} // namespace

process_cluster::process_cluster(std::shared_ptr<const kernels::model> model, const cluster_shape& shape)
  : model_(std::move(model)), system_(config_) {
  auto spec = node_spec{};
  spec.self = {role::node, 0, 0, 1};
  spec.layout = model_->layout(shape.block_tokens);
  spec.fingerprint = model_->fingerprint(shape.block_tokens);
  spec.chunk_tokens = shape.chunk_tokens;
  spec.coupled = shape.coupled;
  spec.mixed_chunk_tokens = shape.chunk_tokens;
  auto make = [&](uint32_t index) {
    auto how = kernels::stream_options{};
    how.slots = shape.slots;
    how.block_tokens = shape.block_tokens;
    if (shape.make_device)
      return node_spec::instance{index, shape.make_device(how)};
    auto work = std::make_shared<device>();
    work->events = std::make_unique<stream_forwarder>();
    work->stream = kernels::make_cpu_stream(model_, how, *work->events);
    return node_spec::instance{index, std::move(work)};
  };
  for (auto i = 0u; i < shape.prefills; ++i)
    spec.prefills.push_back(make(i));
  for (auto i = 0u; i < shape.decodes; ++i)
    spec.decodes.push_back(make(i));
  for (auto i = 0u; i < shape.shards; ++i) {
    memory_.emplace_back(shape.shard_slots * spec.layout.block_bytes());
    auto bytes = memory_.back().bytes().first(shape.shard_slots * spec.layout.block_bytes());
    spec.shards.push_back({i, bytes});
  }
  spec.session = {0, [this](std::span<const token_id>) { return std::make_unique<decoder>(model_); }, 1, 4096};
  spec.conductor = conductor_options{};
  spec.conductor->policy = "kvcache-centric";
  spec.conductor->coupled = shape.coupled;
  spec.conductor->at_decode = shape.at_decode;
  spec.conductor->mixed_chunk_tokens = shape.chunk_tokens;
  spec.conductor->members_expected = shape.prefills + shape.decodes + shape.shards;
  spec.policy = find_routing_policy("kvcache-centric")->spawn;
  spec.make_fabric = [](transport::fabric_events& events) {
    return transport::make_local_fabric(transport::make_local_network(), events);
  };
  node_ = spawn_node(system_, std::move(spec));
}

process_cluster::~process_cluster() {
  stop_node(node_);
}

open_request process_cluster::greedy(std::vector<token_id> prompt, uint32_t tokens) {
  auto request = open_request{};
  request.prompt = std::move(prompt);
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  return request;
}

std::vector<answer> process_cluster::run(std::vector<open_request> requests) {
  auto self = caf::scoped_actor{system_};
  auto answers = std::vector<answer>(requests.size());
  auto first = clients_;
  for (auto i = size_t{0}; i < requests.size(); ++i) {
    auto& request = requests[i];
    request.client = clients_++;
    answers[i].tokens.resize(request.choices);
    answers[i].text.resize(request.choices);
    answers[i].finish.resize(request.choices);
    self->send(*node_.session, request);
  }
  auto open = requests.size();
  auto of = [&](uint64_t client) -> answer& { return answers.at(client - first); };
  auto silent = false;
  while (open > 0 && !silent)
    self->receive([](const client_opened&) {},
                  [&](const client_texts& all) {
                    for (const auto& news : all.items) {
                      auto& to = of(news.client);
                      to.text[news.choice] += news.text;
                      to.tokens[news.choice].insert(to.tokens[news.choice].end(), news.tokens.begin(),
                                                    news.tokens.end());
                    }
                  },
                  [&](const client_finish& news) { of(news.client).finish[news.choice] = news.reason; },
                  [&](const client_end& news) {
                    of(news.client).end = news;
                    of(news.client).over = true;
                    --open;
                  },
                  [&](const client_error& news) {
                    of(news.client).error = news.code;
                    of(news.client).detail = news.detail;
                    of(news.client).over = true;
                    --open;
                  },
                  caf::after(std::chrono::seconds{60}) >> [&] { silent = true; });
  return answers;
}

bool process_cluster::becomes_idle() {
  auto self = caf::scoped_actor{system_};
  for (auto tries = 0; tries < 200; ++tries) {
    auto held = uint64_t{0};
    auto ask = [&](const auto& instance) {
      self->request(instance, std::chrono::seconds{5}, atom::get_status_v)
        .receive([&](uint64_t attempts) { held += attempts; }, [&](const caf::error&) { ++held; });
    };
    for (const auto& instance : node_.prefills)
      ask(instance);
    for (const auto& instance : node_.decodes)
      ask(instance);
    if (held == 0)
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

bool process_cluster::comes_to_hold(uint64_t blocks) {
  for (auto tries = 0; tries < 200; ++tries) {
    auto held = uint64_t{0};
    for (const auto& member : status().members)
      held += member.blocks;
    if (held >= blocks)
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

void process_cluster::end_helpers() {
  auto self = caf::scoped_actor{system_};
  for (const auto& helper : node_.helpers)
    self->send_exit(helper, caf::exit_reason::user_shutdown);
  self->wait_for(node_.helpers);
}

cluster_status process_cluster::status() {
  auto self = caf::scoped_actor{system_};
  auto result = cluster_status{};
  self->request(*node_.conductor, std::chrono::seconds{5}, atom::get_status_v)
    .receive([&](const cluster_status& news) { result = news; }, [](const caf::error&) {});
  return result;
}

transport_status process_cluster::moved() {
  auto self = caf::scoped_actor{system_};
  auto result = transport_status{};
  self->request(node_.transport, std::chrono::seconds{5}, atom::get_status_v)
    .receive([&](const transport_status& news) { result = news; }, [](const caf::error&) {});
  return result;
}

} // namespace perigee::testing
