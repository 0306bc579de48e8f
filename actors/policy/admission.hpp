// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/core/routing_messages.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace perigee {

/// What admission judges: one request that was never accepted before, with what is predicted for it. Asked when it arrives,
/// and again when it is placed after it was held.
struct admission_query {
  uint64_t waited_ns = 0;  ///< since it arrived
  uint64_t ttft_ns = 0;    ///< predicted from now to its first token
  uint64_t prefill_ns = 0; ///< of these, its own computing
  uint64_t slo_ttft_ns = 0;
  uint64_t slo_tbt_ns = 0;
  uint32_t rows = 1;       ///< sequences it brings to its decode instance
  uint64_t tokens = 0;     ///< KV tokens it brings there
  bool decode_chosen = false; ///< the rest is of that decode instance
  uint32_t running_rows = 0;  ///< past their prefill
  uint64_t running_tokens = 0;
  uint32_t coming_rows = 0;   ///< placed there, and still to be computed
  uint64_t coming_tokens = 0;
  uint64_t stay_ns = 0;       ///< how long a request decodes, from an online estimate
  step_cost step;
};

struct refusal {
  std::string detail; ///< for people
  uint64_t over_ns = 0; ///< by how much the objective would be missed
};

/// Accepts everything.
struct admit_none {
  static constexpr const char* name = "none";
  static constexpr const char* summary = "accepts everything";

  std::optional<refusal> judge(const admission_query&) const {
    return std::nullopt;
  }
};

/// Early rejection (Mooncake, FAST'25): wait + T_first > SLO_ttft, or a step of the chosen decode instance as it is now, with
/// this request, > SLO_tbt.
struct admit_early {
  static constexpr const char* name = "early";
  static constexpr const char* summary = "refuses what would miss its TTFT, or the TBT at the decode load of now";

  std::optional<refusal> judge(const admission_query& query) const;
};

/// Early rejection on prediction (Mooncake, FAST'25): as `early`, but the decode load is that of the moment when the prefill
/// ends: of what runs now, what will not have ended by then (each stays `stay_ns`, so a share of T / stay_ns is gone), and all
/// that is still in prefill. A step may take `margin` of the objective.
struct admit_predictive {
  static constexpr const char* name = "predictive";
  static constexpr const char* summary = "as early, with the decode load predicted for the end of the prefill";

  double margin = 0.9;

  std::optional<refusal> judge(const admission_query& query) const;
};

/// Only the decode side is judged, by its load at the time of placing.
struct admit_late {
  static constexpr const char* name = "late";
  static constexpr const char* summary = "judges the decode load alone, when the request is placed";

  std::optional<refusal> judge(const admission_query& query) const;
};

/// `early` with alpha * T_prefill added to the predicted wait. alpha rises with the load, alpha = alpha_max * (mean of T_first
/// over SLO_ttft), so that under overload the requests go first that cost most and would crowd out many.
struct admit_slack {
  static constexpr const char* name = "slack";
  static constexpr const char* summary = "early, with a margin in proportion to the own prefill that grows with the load";

  double alpha_max = 4;
  double load = 0; ///< mean of predicted TTFT over its objective, of what was asked lately

  std::optional<refusal> judge(const admission_query& query);
};

/// One of them. Pure; owned by the Conductor.
class admission {
public:
  using value = std::variant<admit_none, admit_early, admit_predictive, admit_late, admit_slack>;

  admission() = default;
  admission(value policy) : policy_(policy) {}

  std::optional<refusal> judge(const admission_query& query) {
    return std::visit([&](auto& policy) { return policy.judge(query); }, policy_);
  }
  const char* name() const {
    return std::visit([](const auto& policy) { return policy.name; }, policy_);
  }

private:
  value policy_;
};

/// Nothing if there is none of that name.
std::optional<admission> find_admission(std::string_view name);

} // namespace perigee
