// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/run_node.hpp"

#include "actors/edge/model_text.hpp"
#include "actors/node/runtime.hpp"
#include "apps/perigee/gateway_part.hpp"
#include "apps/perigee/load_progress.hpp"
#include "apps/perigee/news_log.hpp"
#include "apps/perigee/peer_feed.hpp"
#include "apps/perigee/usage.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <thread>

namespace perigee::cli {

namespace {

using namespace std::chrono_literals;
using actors::node_role;
using std::chrono::steady_clock;

std::shared_ptr<const kernels::model> load_model(const std::string& dir, bool int8) {
  if (!std::filesystem::exists(dir))
    throw usage_error(fmt::format("model: \"{}\" does not exist; name a directory with config.json, *.safetensors and "
                                  "tokenizer.json, or a GGUF file "
                                  "(relative to the working directory)",
                                  dir));
  return kernels::model::load(dir, {int8});
}

gateway_part_options gateway_of(const actors::cluster_config& config, const actors::node_config& node,
                                std::shared_ptr<const kernels::model> model) {
  auto out = gateway_part_options{};
  out.model = std::move(model);
  out.served_name = config.served_name();
  for (const auto& other : config.nodes)
    out.nodes.push_back(other.name);
  out.http.host = node.host;
  out.http.port = node.http;
  out.http.service.request_timeout = std::chrono::ceil<std::chrono::milliseconds>(config.request_timeout);
  return out;
}

struct feed_closer {
  peer_feed& feed;
  ~feed_closer() {
    feed.close();
  }
};

/// Clients can reach the gateway meanwhile, and are told how far it has come.
void start(actors::node_runtime& runtime, gateway_part* gateway, news_log& log) {
  auto progress = load_progress{[&](const std::string& detail, uint32_t percent) {
                                  if (gateway != nullptr)
                                    gateway->set_loading(detail, percent);
                                },
                                [&](const std::string& news) { log.write(news); }, isatty(STDERR_FILENO) != 0};
  runtime.start([&](const std::string& what, double share) { progress.on(what, share); });
}

/// Lets what is in flight here come to its end; every request has one by its deadline.
void drain(actors::node_runtime& runtime, gateway_part* gateway, std::chrono::nanoseconds request_timeout) {
  auto limit = steady_clock::now() + request_timeout;
  if (gateway != nullptr) {
    gateway->begin_drain();
    gateway->wait_drained(std::chrono::ceil<std::chrono::milliseconds>(request_timeout));
  }
  while (!runtime.idle() && steady_clock::now() < limit)
    std::this_thread::sleep_for(20ms);
}

} // namespace

int run_node(const actors::cluster_config& config, const std::string& name, const run_options& how) {
  hold_stop_signals(); // before threads are started, which inherit it
  const auto& node = *config.find(name);
  auto log = news_log{config.log, name};
  auto model = load_model(config.model, config.weights == "int8");
  auto feed = peer_feed{};
  auto options = actors::runtime_options{};
  options.decoder = make_text_decoders(model);
  options.report = [&](const std::string& news) { log.write(news); };
  options.on_peer = [&, has_gateway = node.count(node_role::gateway) > 0](const peer_up& news) {
    if (has_gateway)
      feed.push(news);
  };
  auto runtime = actors::node_runtime{config, name, model, std::move(options)};
  auto watcher = stop_watcher{how.stop, [&] { runtime.stop(); }};
  auto gateway = std::optional<gateway_part>{};
  auto end_of_news =
    feed_closer{feed}; // before the gateway goes, which hears it, and the runtime, whose actors it names
  if (node.count(node_role::gateway) > 0)
    gateway.emplace(gateway_of(config, node, model));
  start(runtime, gateway ? &*gateway : nullptr, log);
  if (auto session = runtime.session()) {
    gateway->open(runtime.system(), *session);
    feed.connect([&](const peer_up& news) { gateway->on_peer(news); });
  }
  std::printf("%s\n", how.announcement.c_str());
  std::fflush(stdout);
  if (!runtime.wait())
    throw failure(errc::io_error, fmt::format("node {} ends: an actor that it cannot do without has ended", name));
  drain(runtime, gateway ? &*gateway : nullptr, config.request_timeout);
  return exit_success;
}

} // namespace perigee::cli
