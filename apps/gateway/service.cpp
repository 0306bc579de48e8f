// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/service.hpp"

#include "apps/gateway/dashboard.hpp"
#include "apps/gateway/responses.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <array>
#include <random>

namespace perigee::gateway {

namespace {

namespace json = boost::json;

constexpr auto retry_soon_s = uint32_t{1};
constexpr auto retry_elsewhere_s = uint32_t{5};

/// Waits for one answer of the backend, and answers without it after a while.
template <class Reply>
class query_job : public activity {
public:
  using render_function = std::function<void(std::optional<Reply>)>;

  query_job(render_function render, clock::time_point deadline) : render_(std::move(render)), deadline_(deadline) {}

  void answer(std::optional<Reply> reply) {
    if (auto render = std::exchange(render_, nullptr))
      render(std::move(reply));
  }

  bool needs_client() const override {
    return false;
  }
  void cancelled(cancel_reason) override {
    render_ = nullptr;
  }
  void output_moved() override {}
  void tick(clock::time_point now) override {
    if (now >= deadline_)
      answer(std::nullopt);
  }

private:
  render_function render_; ///< null once answered
  clock::time_point deadline_;
};

http_response json_response(std::string body, uint16_t status = 200) {
  auto response = http_response{};
  response.status = status;
  response.body = std::move(body);
  return response;
}

json::object health_json(const backend_health& health, bool draining) {
  auto status = draining ? "draining" : health.loaded_percent ? "loading" : health.ready ? "ready" : "not_ready";
  auto body = json::object{{"status", status}, {"detail", health.detail}};
  if (health.loaded_percent)
    body["loaded_percent"] = *health.loaded_percent;
  return body;
}

http_response dashboard_response() {
  auto response = http_response{};
  response.content_type = "text/html; charset=utf-8";
  response.body = dashboard_page();
  response.headers = {{"Content-Security-Policy", std::string{dashboard_policy()}}, {"Cache-Control", "no-cache"}};
  return response;
}

/// Only what cannot be JSON: clients forget the header, and curl sends its own.
bool clearly_not_json(std::string_view content_type) {
  constexpr auto wrong = std::array<std::string_view, 8>{
    "image/", "audio/", "video/", "multipart/", "application/xml", "text/html", "application/pdf", "application/zip"};
  for (auto prefix : wrong)
    if (same_word(content_type.substr(0, prefix.size()), prefix))
      return true;
  return false;
}

std::optional<api_error> check_content(const http_request& request) {
  auto unsupported = [](std::string message) {
    auto error = invalid_request("unsupported_media_type", message);
    error.http_status = 415;
    return error;
  };
  if (auto type = request.header("Content-Type"); type && clearly_not_json(*type))
    return unsupported(fmt::format("The body is sent as {}; it must be application/json.", shown(*type)));
  if (auto coding = request.header("Content-Encoding"); coding && !same_word(*coding, "identity"))
    return unsupported(fmt::format("The body is encoded as {}; send it without Content-Encoding.", shown(*coding)));
  return std::nullopt;
}

} // namespace

std::string random_id(std::string_view prefix) {
  auto device = std::random_device{};
  return fmt::format("{}{:08x}{:08x}{:08x}{:08x}", prefix, device(), device(), device(), device());
}

service::service(const service_options& options, const gateway_parts& parts, post_function to_gateway,
                 post_function to_worker)
  : options_(options), parts_(parts), metrics_(parts.registry, parts.model.id), context_{parts.model,
                                                                                         parts.encoder,
                                                                                         parts.target,
                                                                                         metrics_,
                                                                                         options.limits,
                                                                                         options.unread_bytes_max,
                                                                                         options.slow_client_timeout,
                                                                                         options.request_timeout,
                                                                                         std::move(to_gateway),
                                                                                         std::move(to_worker)} {}

http_response service::refuse(const api_error& error) {
  metrics_.answered("none", error.http_status);
  auto response = error_response(error);
  response.close = true;
  return response;
}

void service::answer(std::string_view handler, exchange& where, http_response response) {
  metrics_.answered(handler, response.status);
  where.respond(std::move(response));
}

std::shared_ptr<activity> service::serve(http_request request, exchange& where) {
  auto match = match_route(request.target);
  if (!match) {
    auto error =
      not_found("unknown_path", fmt::format("There is nothing at {}; this server has /v1/models, /v1/completions, "
                                            "/v1/chat/completions, /health, /live, /metrics and /cluster.",
                                            shown(request.target)));
    answer("other", where, error_response(error));
    return nullptr;
  }
  if (request.method == "OPTIONS") {
    auto response = http_response{204, {}, {}, {{"Allow", std::string{match->allow}}}};
    answer(match->name, where, std::move(response));
    return nullptr;
  }
  auto posting = match->where == route::completion || match->where == route::chat;
  if (posting && request.method == "POST")
    return serve_completion(*match, std::move(request), where);
  if (!posting && (request.method == "GET" || request.method == "HEAD"))
    return serve_reading(*match, where);
  auto error = invalid_request("method_not_allowed", fmt::format("{} is not allowed here; use {}.",
                                                                 shown(request.method), posting ? "POST" : "GET"));
  error.http_status = 405;
  auto response = error_response(error);
  response.headers.emplace_back("Allow", match->allow);
  answer(match->name, where, std::move(response));
  return nullptr;
}

std::shared_ptr<activity> service::serve_completion(const route_match& match, http_request request, exchange& where) {
  auto refusal = std::optional<http_response>{};
  if (draining_) {
    refusal = error_response(unavailable("This gateway is draining and takes no new requests.", retry_elsewhere_s));
    refusal->close = true;
  } else if (auto health = parts_.target.health(); health.loaded_percent) {
    refusal = error_response(unavailable("The model is being loaded: " + health.detail, retry_soon_s));
  } else if (auto error = check_content(request)) {
    refusal = error_response(*error);
  } else if (context_.in_flight >= options_.requests_in_flight_max) {
    refusal = error_response(
      overloaded(fmt::format("{} requests are in flight, as many as this gateway takes at once.", context_.in_flight),
                 retry_soon_s));
  }
  if (refusal) {
    answer(match.name, where, std::move(*refusal));
    return nullptr;
  }
  auto kind = match.where == route::chat ? api_kind::chat : api_kind::completion;
  auto job =
    std::make_shared<completion_job>(context_, where, random_id(kind == api_kind::chat ? "chatcmpl-" : "cmpl-"));
  job->start(kind, std::move(request));
  return job;
}

template <class Reply>
std::shared_ptr<activity> service::ask(const route_match& match, exchange& where,
                                       const std::function<void(std::function<void(Reply)>)>& question,
                                       std::function<http_response(std::optional<Reply>)> render) {
  auto job = std::make_shared<query_job<Reply>>(
    [this, handler = match.name, &where, render = std::move(render)](std::optional<Reply> reply) {
      answer(handler, where, render(std::move(reply)));
    },
    clock::now() + options_.query_timeout);
  question([post = context_.to_gateway, waiting = std::weak_ptr{job}](Reply reply) {
    post([waiting, reply = std::move(reply)]() mutable {
      if (auto job = waiting.lock())
        job->answer(std::move(reply));
    });
  });
  return job;
}

std::shared_ptr<activity> service::serve_reading(const route_match& match, exchange& where) {
  const auto late = timed_out("The cluster did not answer in time.");
  auto asks = match.where == route::metrics || match.where == route::cluster || match.where == route::request;
  if (asks)
    if (auto health = parts_.target.health(); health.loaded_percent) {
      answer(match.name, where, json_response(json::serialize(health_json(health, draining_)), 503));
      return nullptr;
    }
  switch (match.where) {
  case route::models: answer(match.name, where, json_response(render_model_list(parts_.model))); return nullptr;
  case route::model:
    if (match.argument == parts_.model.id)
      answer(match.name, where, json_response(render_model(parts_.model)));
    else
      answer(match.name, where,
             error_response(not_found("model_not_found", fmt::format("The model {} does not exist here; this server "
                                                                     "has {}.",
                                                                     shown(match.argument), shown(parts_.model.id)))));
    return nullptr;
  case route::live: answer(match.name, where, json_response(R"({"status":"live"})")); return nullptr;
  case route::health: {
    auto health = parts_.target.health();
    auto serving = health.ready && !draining_;
    answer(match.name, where,
           json_response(json::serialize(health_json(health, draining_)), serving ? 200 : 503));
    return nullptr;
  }
  case route::metrics:
    return ask<std::vector<metric_family>>(
      match, where, [this](auto reply) { parts_.target.collect(std::move(reply)); },
      [this](std::optional<std::vector<metric_family>> families) {
        // without the backend's part rather than not at all
        auto response = json_response(parts_.registry.render(families.value_or(std::vector<metric_family>{})));
        response.content_type = "text/plain; version=0.0.4; charset=utf-8";
        return response;
      });
  case route::cluster:
    return ask<std::string>(
      match, where, [this](auto reply) { parts_.target.cluster_json(std::move(reply)); },
      [late](std::optional<std::string> text) {
        return text ? json_response(std::move(*text)) : error_response(late);
      });
  case route::request:
    return ask<std::optional<std::string>>(
      match, where, [this, id = match.argument](auto reply) { parts_.target.request_json(id, std::move(reply)); },
      [late, id = match.argument](std::optional<std::optional<std::string>> text) {
        if (!text)
          return error_response(late);
        if (!*text)
          return error_response(
            not_found("request_not_found", fmt::format("There is no record of request {}.", shown(id))));
        return json_response(std::move(**text));
      });
  case route::dashboard: answer(match.name, where, dashboard_response()); return nullptr;
  case route::completion:
  case route::chat: break;
  }
  answer(match.name, where, error_response(internal_error("This path cannot be read.")));
  return nullptr;
}

} // namespace perigee::gateway
