// SPDX-License-Identifier: Apache-2.0
#include "tests/apps/gateway/fake_backend.hpp"

#include <algorithm>
#include <array>

namespace perigee::gateway {

fake_backend::fake_backend(planner plan) : plan_(std::move(plan)), thread_([this] { run(); }) {}

fake_backend::~fake_backend() {
  {
    auto lock = std::lock_guard{mutex_};
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

request_handle fake_backend::submit(completion_spec spec, std::shared_ptr<completion_sink> sink) {
  auto lock = std::lock_guard{mutex_};
  submitted_.push_back(spec);
  auto plan = plan_(spec);
  prompts_[++last_handle_] = std::make_shared<prompt>(prompt{std::move(spec), std::move(sink), std::move(plan)});
  changed_.notify_all();
  return last_handle_;
}

void fake_backend::cancel(request_handle handle, cancel_reason reason) {
  auto lock = std::lock_guard{mutex_};
  cancels_.push_back(reason);
  prompts_.erase(handle);
  changed_.notify_all();
}

void fake_backend::set_paused(request_handle handle, bool paused) {
  auto lock = std::lock_guard{mutex_};
  pauses_.push_back(paused);
  if (auto found = prompts_.find(handle); found != prompts_.end())
    found->second->paused = paused;
  changed_.notify_all();
}

backend_health fake_backend::health() const {
  auto lock = std::lock_guard{mutex_};
  if (loading_)
    return {false, "packing", loading_};
  return {ready_, ready_ ? "1 prefill, 1 decode" : "no decode instance"};
}

void fake_backend::cluster_json(std::function<void(std::string)> reply) {
  auto lock = std::lock_guard{mutex_};
  if (silent_)
    unanswered_.push_back([reply] { reply("{}"); });
  else
    reply(R"({"nodes":[]})");
}

void fake_backend::request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) {
  reply(id == "known" ? std::optional<std::string>{R"({"choice":"a"})"} : std::nullopt);
}

void fake_backend::collect(std::function<void(std::vector<metric_family>)> reply) {
  auto lock = std::lock_guard{mutex_};
  if (silent_)
    unanswered_.push_back([reply] { reply({}); });
  else
    reply({{"perigee:num_requests_running", "Requests in decode.", metric_type::gauge, {{{{"model_name", "m"}}, 2}}}});
}

void fake_backend::release() {
  auto lock = std::lock_guard{mutex_};
  released_ = true;
  changed_.notify_all();
}

void fake_backend::set_loading(std::optional<uint32_t> percent) {
  auto lock = std::lock_guard{mutex_};
  loading_ = percent;
}

void fake_backend::set_ready(bool ready) {
  auto lock = std::lock_guard{mutex_};
  ready_ = ready;
}

void fake_backend::fall_silent() {
  auto lock = std::lock_guard{mutex_};
  silent_ = true;
}

std::vector<completion_spec> fake_backend::submitted() const {
  auto lock = std::lock_guard{mutex_};
  return submitted_;
}

std::vector<cancel_reason> fake_backend::cancels() const {
  auto lock = std::lock_guard{mutex_};
  return cancels_;
}

std::vector<bool> fake_backend::pauses() const {
  auto lock = std::lock_guard{mutex_};
  return pauses_;
}

size_t fake_backend::running() const {
  auto lock = std::lock_guard{mutex_};
  return prompts_.size();
}

uint64_t fake_backend::pieces_sent() const {
  auto lock = std::lock_guard{mutex_};
  return pieces_sent_;
}

bool fake_backend::ready_to_go_on(const prompt& entry) const {
  if (entry.paused)
    return false;
  return entry.sent < entry.plan.tokens || !entry.plan.hold_end || released_;
}

bool fake_backend::step(prompt& entry) {
  const auto& plan = entry.plan;
  auto choices = entry.spec.choices;
  if (entry.sent < plan.tokens) {
    ++entry.sent;
    for (uint32_t choice = 0; choice < choices; ++choice)
      entry.sink->on_text(choice, plan.piece, entry.sent);
    return false;
  }
  if (plan.error) {
    entry.sink->on_error(*plan.error);
    return true;
  }
  for (uint32_t choice = 0; choice < choices; ++choice)
    entry.sink->on_finish(choice, plan.reason);
  auto summary = completion_summary{};
  summary.prompt_tokens = static_cast<uint32_t>(entry.spec.prompt.size());
  summary.completion_tokens = plan.tokens * choices;
  summary.cached_tokens = plan.cached_tokens;
  summary.queued = std::chrono::milliseconds{400};
  summary.prefilled = std::chrono::milliseconds{5};
  entry.sink->on_end(summary);
  return true;
}

void fake_backend::run() {
  auto lock = std::unique_lock{mutex_};
  auto next_handle = request_handle{0}; // so that prompts take turns
  while (!stopping_) {
    auto can_go_on = [this](const auto& entry) { return ready_to_go_on(*entry.second); };
    auto found = std::find_if(prompts_.upper_bound(next_handle), prompts_.end(), can_go_on);
    if (found == prompts_.end())
      found = std::find_if(prompts_.begin(), prompts_.end(), can_go_on);
    if (found == prompts_.end()) {
      changed_.wait(lock);
      continue;
    }
    auto handle = found->first;
    auto entry = found->second;
    next_handle = handle;
    lock.unlock();
    auto ended = step(*entry);
    lock.lock();
    ++pieces_sent_;
    if (ended)
      prompts_.erase(handle);
    else if (entry->plan.pace.count() > 0)
      changed_.wait_for(lock, entry->plan.pace, [this] { return stopping_; });
  }
}

std::vector<token_id> byte_encoder::encode(std::string_view text, bool add_bos, bool parse_special) const {
  constexpr auto specials =
    std::array<std::pair<std::string_view, token_id>, 3>{{{"<s>", 256}, {"<|im_start|>", 257}, {"<|im_end|>", 258}}};
  auto ids = std::vector<token_id>{};
  if (add_bos)
    ids.push_back(256);
  while (!text.empty()) {
    auto found = std::find_if(specials.begin(), specials.end(),
                              [&](const auto& special) { return parse_special && text.starts_with(special.first); });
    ids.push_back(found == specials.end() ? static_cast<uint8_t>(text[0]) : found->second);
    text.remove_prefix(found == specials.end() ? 1 : found->first.size());
  }
  return ids;
}

model_facts small_model() {
  auto model = model_facts{};
  model.id = "org/small";
  model.created = 1700000000;
  model.context_tokens = 512;
  model.vocabulary = byte_encoder::vocabulary;
  model.token_bytes_max = 12;
  model.eos_ids = {0};
  return model;
}

} // namespace perigee::gateway
