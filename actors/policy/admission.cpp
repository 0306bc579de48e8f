// SPDX-License-Identifier: Apache-2.0
#include "actors/policy/admission.hpp"

namespace perigee {

namespace {

constexpr auto weight_of_new = 1.0 / 64;

std::string ms(uint64_t value) {
  return std::to_string(value / 1'000'000) + " ms";
}

std::optional<refusal> judge_ttft(const admission_query& query, uint64_t margin_ns) {
  auto total = query.waited_ns + query.ttft_ns + margin_ns;
  if (total <= query.slo_ttft_ns)
    return std::nullopt;
  auto text = "the first token is predicted in " + ms(query.waited_ns + query.ttft_ns);
  if (margin_ns > 0)
    text += " with a margin of " + ms(margin_ns);
  return refusal{text + ", promised are " + ms(query.slo_ttft_ns), total - query.slo_ttft_ns};
}

std::optional<refusal> judge_step(const admission_query& query, double rows, double tokens, double share) {
  // An idle instance is as fast as this cluster gets.
  if (!query.decode_chosen || (query.running_rows == 0 && query.coming_rows == 0))
    return std::nullopt;
  auto step_ns = query.step.ns(rows + query.rows, tokens + static_cast<double>(query.tokens));
  if (static_cast<double>(step_ns) <= share * static_cast<double>(query.slo_tbt_ns))
    return std::nullopt;
  return refusal{"a decode step is predicted to take " + ms(step_ns) + ", promised are " + ms(query.slo_tbt_ns),
                 query.stay_ns};
}

std::optional<refusal> judge_step_now(const admission_query& query) {
  return judge_step(query, query.running_rows, static_cast<double>(query.running_tokens), 1);
}

} // namespace

std::optional<refusal> admit_early::judge(const admission_query& query) const {
  if (auto no = judge_ttft(query, 0))
    return no;
  return judge_step_now(query);
}

std::optional<refusal> admit_predictive::judge(const admission_query& query) const {
  if (auto no = judge_ttft(query, 0))
    return no;
  auto stay = static_cast<double>(std::max<uint64_t>(1, query.stay_ns));
  auto left = std::max(0.0, 1 - static_cast<double>(query.ttft_ns) / stay);
  return judge_step(query, query.running_rows * left + query.coming_rows,
                    static_cast<double>(query.running_tokens) * left + static_cast<double>(query.coming_tokens), margin);
}

std::optional<refusal> admit_late::judge(const admission_query& query) const {
  return judge_step_now(query);
}

std::optional<refusal> admit_slack::judge(const admission_query& query) {
  auto ratio = static_cast<double>(query.waited_ns + query.ttft_ns) / static_cast<double>(query.slo_ttft_ns);
  load += weight_of_new * (std::min(1.0, ratio) - load);
  auto margin = alpha_max * load * static_cast<double>(query.prefill_ns);
  if (auto no = judge_ttft(query, static_cast<uint64_t>(margin)))
    return no;
  return judge_step_now(query);
}

std::optional<admission> find_admission(std::string_view name) {
  for (const auto& policy : {admission{admit_none{}}, admission{admit_early{}}, admission{admit_predictive{}},
                             admission{admit_late{}}, admission{admit_slack{}}})
    if (name == policy.name())
      return policy;
  return std::nullopt;
}

} // namespace perigee
