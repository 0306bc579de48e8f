// SPDX-License-Identifier: Apache-2.0
#include "apps/perigee/late_backend.hpp"

#include <cassert>
#include <utility>

namespace perigee::cli {

void late_backend::set_loading(std::string detail, uint32_t percent) {
  auto lock = std::lock_guard{mutex_};
  loading_.detail = std::move(detail);
  loading_.loaded_percent = percent;
}

gateway::backend& late_backend::behind() const noexcept {
  auto* found = behind_.load(std::memory_order_acquire);
  assert(found);
  return *found;
}

gateway::request_handle late_backend::submit(gateway::completion_spec spec,
                                             std::shared_ptr<gateway::completion_sink> sink) {
  return behind().submit(std::move(spec), std::move(sink));
}

void late_backend::cancel(gateway::request_handle handle, gateway::cancel_reason reason) {
  behind().cancel(handle, reason);
}

void late_backend::set_paused(gateway::request_handle handle, bool paused) {
  behind().set_paused(handle, paused);
}

gateway::backend_health late_backend::health() const {
  if (auto* found = behind_.load(std::memory_order_acquire))
    return found->health();
  auto lock = std::lock_guard{mutex_};
  return loading_;
}

void late_backend::cluster_json(std::function<void(std::string)> reply) {
  behind().cluster_json(std::move(reply));
}

void late_backend::request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) {
  behind().request_json(id, std::move(reply));
}

void late_backend::collect(std::function<void(std::vector<gateway::metric_family>)> reply) {
  behind().collect(std::move(reply));
}

} // namespace perigee::cli
