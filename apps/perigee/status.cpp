// SPDX-License-Identifier: Apache-2.0
#include "transport/base/status.hpp"
#include "apps/perigee/command.hpp"
#include "apps/perigee/http_get.hpp"
#include "apps/perigee/status_report.hpp"

#include <boost/json/parse.hpp>

#include <fmt/format.h>

#include <cstdio>

namespace perigee::cli {

namespace {

struct status_options {
  std::string url = "http://127.0.0.1:8000";
  std::string request;
  bool json = false;
  uint32_t timeout_ms = 5'000;
};

http_response ask(const http_url& url, std::chrono::milliseconds timeout) {
  try {
    return http_get(url, timeout);
  } catch (const failure& error) {
    throw failure(error.code(),
                  fmt::format("{}; is a perigee serving there? (perigee status URL asks another)", error.what()));
  }
}

int run_status(const status_options& options) {
  auto url = parse_url(options.url);
  url.path = options.request.empty() ? "/cluster" : "/cluster/requests/" + options.request;
  auto answer = ask(url, std::chrono::milliseconds{options.timeout_ms});
  if (answer.status == 404 && !options.request.empty())
    throw failure(errc::not_found,
                  fmt::format("--request: no record of \"{}\" (the newest few thousand are kept)", options.request));
  if (auto line = answer.status == 503 ? render_loading(answer.body) : std::nullopt) {
    std::printf("%s", options.json ? (answer.body + '\n').c_str() : line->c_str());
    return exit_success;
  }
  if (answer.status != 200)
    throw failure(errc::io_error,
                  fmt::format("{}:{} answered HTTP {}: {}", url.host, url.port, answer.status, answer.body));
  auto error = boost::json::error_code{};
  auto value = boost::json::parse(answer.body, error);
  if (error)
    throw failure(errc::corrupt,
                  fmt::format("{}:{} answered something that is not JSON: {}", url.host, url.port, error.message()));
  auto is_raw = options.json || !options.request.empty();
  std::printf("%s%s", (is_raw ? answer.body : render_cluster(value)).c_str(),
              is_raw && !answer.body.ends_with('\n') ? "\n" : "");
  return exit_success;
}

} // namespace

void add_status(CLI::App& app, action& chosen) {
  auto options = std::make_shared<status_options>();
  auto* sub =
    app.add_subcommand("status", "Shows what runs where, its load and its cache, or the record of one request.");
  sub->add_option("URL", options->url, "a gateway of the cluster")->capture_default_str();
  sub->add_option("--request", options->request, "id of a completion: the record of its routing decision, as JSON");
  sub->add_flag("--json", options->json, "the gateway's answer as it is");
  sub->add_option("--timeout-ms", options->timeout_ms, "how long the gateway may take")->capture_default_str();
  sub->footer("Examples:\n"
              "  perigee status\n"
              "  perigee status http://10.0.0.1:8000 --json\n"
              "  perigee status --request cmpl-1234");
  sub->callback([&chosen, options] { chosen = [options] { return run_status(*options); }; });
}

} // namespace perigee::cli
