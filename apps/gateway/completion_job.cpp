// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/completion_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

namespace perigee::gateway {

namespace {

double seconds(clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

std::string_view handler_name(api_kind kind) noexcept {
  return kind == api_kind::chat ? "/v1/chat/completions" : "/v1/completions";
}

std::variant<prepared_request, api_error> parse_and_prepare(const completion_context& context, api_kind kind,
                                                            const std::string& body, const std::string& id) {
  try {
    auto parsed = parse_api_request(kind, body, context.limits);
    if (auto* error = std::get_if<api_error>(&parsed))
      return std::move(*error);
    return prepare(std::move(std::get<api_request>(parsed)), context.model, context.encoder, id,
                   context.request_timeout);
  } catch (const std::exception& error) {
    return internal_error(fmt::format("The prompt could not be tokenized: {}.", error.what()));
  }
}

/// The backend answers an expired deadline itself; only if it fails to does the gateway.
clock::duration grace(std::chrono::milliseconds request_timeout) {
  return std::min<clock::duration>(std::chrono::seconds{5}, request_timeout / 10);
}

} // namespace

completion_job::completion_job(completion_context& context, exchange& where, std::string id)
  : context_(context), exchange_(&where), id_(std::move(id)), arrived_(clock::now()),
    deadline_(arrived_ + context.request_timeout + grace(context.request_timeout)) {
  context_.metrics.requests_in_flight.set(static_cast<double>(++context_.in_flight));
}

completion_job::~completion_job() {
  context_.metrics.requests_in_flight.set(static_cast<double>(--context_.in_flight));
}

void completion_job::start(api_kind kind, http_request request) {
  kind_ = kind;
  auto self = weak_from_this();
  inbox_ = std::make_shared<event_inbox>([post = context_.to_gateway, self] {
    post([self] {
      if (auto job = self.lock())
        job->handle_events();
    });
  });
  // shared because the task must be copyable; the request ends with the task, and with it its share of the body budget
  auto held = std::make_shared<http_request>(std::move(request));
  context_.to_worker([&context = context_, self, kind, id = id_, held] {
    if (self.expired())
      return; // the client left while this waited
    auto result = parse_and_prepare(context, kind, held->body, id);
    context.to_gateway([self, result = std::move(result)]() mutable {
      if (auto job = self.lock())
        job->prepared(std::move(result));
    });
  });
}

void completion_job::prepared(std::variant<prepared_request, api_error> result) {
  if (exchange_ == nullptr)
    return;
  if (auto* error = std::get_if<api_error>(&result))
    return fail(*error, "invalid");
  submit(std::move(std::get<prepared_request>(result)));
}

void completion_job::submit(prepared_request request) {
  stream_ = request.stream;
  choices_per_prompt_ = request.choices_per_prompt;
  prompts_open_ = request.specs.size();
  choices_.resize(prompts_open_ * choices_per_prompt_);
  auto created = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  auto identity =
    answer_identity{id_, context_.model.id, created, request.kind, static_cast<uint32_t>(choices_.size())};
  writer_ =
    stream_ ? make_stream_writer(std::move(identity), request.include_usage) : make_body_writer(std::move(identity));
  for (size_t i = 0; i < request.specs.size(); ++i)
    handles_.push_back(context_.target.submit(std::move(request.specs[i]), std::make_shared<inbox_sink>(inbox_, i)));
}

void completion_job::handle_events() {
  for (auto& event : inbox_->take())
    backlog_.push_back(std::move(event));
  while (exchange_ != nullptr && !paused_since_ && !backlog_.empty()) {
    auto event = std::move(backlog_.front());
    backlog_.pop_front();
    handle(event);
    if (exchange_ != nullptr && exchange_->unread_bytes() >= context_.unread_bytes_max)
      set_paused(true, clock::now());
  }
}

void completion_job::handle(const sink_event& event) {
  if (const auto* error = std::get_if<api_error>(&event.what)) {
    handles_[event.prompt].reset();
    return fail(*error, error->http_status == 429 ? "rejected" : "error");
  }
  if (const auto* summary = std::get_if<completion_summary>(&event.what))
    return on_end(event.prompt, *summary);
  auto choice = event.prompt * choices_per_prompt_ + event.choice;
  if (event.choice >= choices_per_prompt_ || choices_[choice].finished)
    return fail(
      internal_error(fmt::format("The backend sent an event for choice {}, which is over or never was.", event.choice)),
      "error");
  if (const auto* part = std::get_if<sink_event::text_part>(&event.what))
    on_text(static_cast<uint32_t>(choice), *part, event.at);
  else
    on_finish(static_cast<uint32_t>(choice), std::get<finish_reason>(event.what));
}

void completion_job::on_text(uint32_t choice, const sink_event::text_part& part, clock::time_point at) {
  observe_tokens(choices_[choice], part.tokens, at);
  open_answer();
  if (!part.text.empty())
    send(writer_->text(choice, part.text));
}

void completion_job::on_finish(uint32_t choice, finish_reason reason) {
  choices_[choice].finished = true;
  context_.metrics.choice_finished(reason);
  open_answer();
  send(writer_->finish(choice, reason));
}

void completion_job::on_end(size_t prompt, const completion_summary& summary) {
  handles_[prompt].reset();
  usage_.prompt_tokens += summary.prompt_tokens;
  usage_.completion_tokens += summary.completion_tokens;
  usage_.cached_tokens += summary.cached_tokens;
  context_.metrics.prompt_ended(summary);
  if (--prompts_open_ > 0)
    return;
  if (std::any_of(choices_.begin(), choices_.end(), [](const choice_state& state) { return !state.finished; }))
    return fail(internal_error("The backend ended the request before all of its choices."), "error");
  open_answer();
  complete();
}

void completion_job::observe_tokens(choice_state& state, uint32_t tokens, clock::time_point at) {
  if (tokens <= state.tokens)
    return;
  auto fresh = tokens - state.tokens;
  if (!first_token_) {
    first_token_ = at;
    context_.metrics.time_to_first_token.observe(seconds(at - arrived_));
  }
  for (uint32_t i = 0; state.last && i < fresh; ++i)
    context_.metrics.inter_token_latency.observe(seconds(at - *state.last) / fresh);
  state.last = at;
  state.tokens = tokens;
}

void completion_job::open_answer() {
  if (opened_)
    return;
  opened_ = true;
  if (!stream_)
    return;
  context_.metrics.answered(handler_name(kind_), 200);
  auto head = http_response{};
  head.content_type = "text/event-stream";
  head.headers.emplace_back("Cache-Control", "no-cache");
  exchange_->begin_stream(std::move(head));
  send(writer_->open());
}

void completion_job::send(std::string bytes) {
  if (!bytes.empty())
    exchange_->write(std::move(bytes));
}

void completion_job::complete() {
  context_.metrics.e2e_latency.observe(seconds(clock::now() - arrived_));
  auto longest = uint32_t{0};
  auto last = arrived_;
  for (const auto& state : choices_) {
    longest = std::max(longest, state.tokens);
    last = std::max(last, state.last.value_or(arrived_));
  }
  if (first_token_ && longest > 1)
    context_.metrics.time_per_output_token.observe(seconds(last - *first_token_) / (longest - 1));
  auto bytes = writer_->close(usage_);
  auto* where = exchange_;
  release(cancel_reason::abandoned);
  if (stream_) {
    where->write(std::move(bytes));
    return where->finish();
  }
  context_.metrics.answered(handler_name(kind_), 200);
  auto response = http_response{};
  response.body = std::move(bytes);
  where->respond(std::move(response));
}

void completion_job::fail(const api_error& error, std::string_view reason) {
  context_.metrics.ended(reason);
  auto* where = exchange_;
  release(cancel_reason::abandoned);
  if (stream_ && opened_) {
    where->write(render_stream_error(error));
    return where->finish();
  }
  context_.metrics.answered(handler_name(kind_), error.http_status);
  where->respond(error_response(error));
}

void completion_job::cancelled(cancel_reason reason) {
  if (exchange_ == nullptr)
    return;
  context_.metrics.ended(to_string(reason));
  release(reason);
}

void completion_job::output_moved() {
  if (!paused_since_ || exchange_ == nullptr || exchange_->unread_bytes() > context_.unread_bytes_max / 2)
    return;
  set_paused(false, clock::now());
  handle_events();
}

void completion_job::tick(clock::time_point now) {
  if (exchange_ == nullptr)
    return;
  if (paused_since_ && now - *paused_since_ >= context_.slow_client_timeout)
    give_up_on_client();
  else if (now >= deadline_)
    fail(timed_out("The request did not finish within its deadline."), "timeout");
}

void completion_job::give_up_on_client() {
  auto* where = exchange_;
  cancelled(cancel_reason::slow_client);
  where->abort();
}

void completion_job::set_paused(bool paused, clock::time_point now) {
  context_.metrics.streams_paused.add(paused ? 1 : -1);
  paused_since_ = paused ? std::optional{now} : std::nullopt;
  for (auto handle : handles_)
    if (handle)
      context_.target.set_paused(*handle, paused);
}

/// Lets go of both sides.
void completion_job::release(cancel_reason reason) {
  exchange_ = nullptr;
  if (inbox_)
    inbox_->close();
  backlog_.clear();
  if (paused_since_)
    context_.metrics.streams_paused.add(-1);
  paused_since_.reset();
  for (auto handle : handles_)
    if (handle)
      context_.target.cancel(*handle, reason);
  handles_.clear();
}

} // namespace perigee::gateway
