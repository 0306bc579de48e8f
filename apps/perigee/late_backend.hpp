// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/gateway/backend.hpp"

#include <atomic>
#include <mutex>

namespace perigee::cli {

/// The backend of a gateway whose node is still loading its model: until the one behind it comes it says how far that
/// is, from then on it passes everything on.
class late_backend final : public gateway::backend {
public:
  /// Any thread.
  void set_loading(std::string detail, uint32_t percent);
  /// `behind` must outlive the server that uses this. Once.
  void attach(gateway::backend& behind) noexcept {
    behind_.store(&behind, std::memory_order_release);
  }

  gateway::request_handle submit(gateway::completion_spec spec,
                                 std::shared_ptr<gateway::completion_sink> sink) override;
  void cancel(gateway::request_handle handle, gateway::cancel_reason reason) override;
  void set_paused(gateway::request_handle handle, bool paused) override;
  gateway::backend_health health() const override;
  void cluster_json(std::function<void(std::string)> reply) override;
  void request_json(const std::string& id, std::function<void(std::optional<std::string>)> reply) override;
  void collect(std::function<void(std::vector<gateway::metric_family>)> reply) override;

private:
  /// Only `health` is called before it is there.
  gateway::backend& behind() const noexcept;

  std::atomic<gateway::backend*> behind_ = nullptr;
  mutable std::mutex mutex_;
  gateway::backend_health loading_{false, "The node is starting.", 0}; // guarded by mutex_
};

} // namespace perigee::cli
