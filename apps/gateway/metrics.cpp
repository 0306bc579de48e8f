// SPDX-License-Identifier: Apache-2.0
#include "apps/gateway/metrics.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace perigee::gateway {

namespace {

std::string_view type_name(metric_type type) noexcept {
  switch (type) {
  case metric_type::counter: return "counter";
  case metric_type::gauge: return "gauge";
  case metric_type::histogram: return "histogram";
  }
  return "untyped";
}

std::string number(double value) {
  if (std::isnan(value))
    return "NaN";
  if (std::isinf(value))
    return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

std::string escaped(std::string_view text, bool quotes) {
  auto result = std::string{};
  for (auto c : text) {
    if (c == '\n')
      result += "\\n";
    else if (c == '\\')
      result += "\\\\";
    else if (c == '"' && quotes)
      result += "\\\"";
    else
      result += c;
  }
  return result;
}

/// `a="x",b="y"`, without braces, so that a histogram can add its own.
std::string label_text(const label_list& labels) {
  auto result = std::string{};
  for (const auto& [name, value] : labels)
    fmt::format_to(std::back_inserter(result), "{}{}=\"{}\"", result.empty() ? "" : ",", name, escaped(value, true));
  return result;
}

void write_sample(std::string& out, std::string_view name, std::string_view labels, double value) {
  out += name;
  if (!labels.empty())
    fmt::format_to(std::back_inserter(out), "{{{}}}", labels);
  fmt::format_to(std::back_inserter(out), " {}\n", number(value));
}

void write_histogram(std::string& out, std::string_view name, const std::string& labels, const histogram& values) {
  auto total = uint64_t{0};
  auto bucket = fmt::format("{}_bucket", name);
  auto prefix = labels.empty() ? std::string{} : labels + ",";
  for (size_t i = 0; i <= values.bounds().size(); ++i) {
    total += values.count(i);
    auto bound = i < values.bounds().size() ? number(values.bounds()[i]) : "+Inf";
    write_sample(out, bucket, fmt::format("{}le=\"{}\"", prefix, bound), static_cast<double>(total));
  }
  write_sample(out, fmt::format("{}_sum", name), labels, values.sum());
  write_sample(out, fmt::format("{}_count", name), labels, static_cast<double>(total));
}

} // namespace

histogram::histogram(std::span<const double> bounds)
  : bounds_(bounds.begin(), bounds.end()), counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds.size() + 1)) {}

void histogram::observe(double value) noexcept {
  auto index = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(index)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

metric_registry::family& metric_registry::find_or_make(std::string_view name, std::string_view help, metric_type type) {
  auto found = families_.find(name);
  if (found == families_.end()) {
    found = families_.try_emplace(std::string{name}).first;
    found->second.type = type;
    found->second.help = help;
  }
  if (found->second.type != type)
    throw failure{errc::invalid_argument,
                  fmt::format("metric {} is a {}, not a {}", name, type_name(found->second.type), type_name(type))};
  return found->second;
}

counter& metric_registry::make_counter(std::string_view name, std::string_view help, const label_list& labels) {
  auto lock = std::lock_guard{mutex_};
  auto& slot = find_or_make(name, help, metric_type::counter).counters[label_text(labels)];
  if (slot == nullptr)
    slot = std::make_unique<counter>();
  return *slot;
}

gauge& metric_registry::make_gauge(std::string_view name, std::string_view help, const label_list& labels) {
  auto lock = std::lock_guard{mutex_};
  auto& slot = find_or_make(name, help, metric_type::gauge).gauges[label_text(labels)];
  if (slot == nullptr)
    slot = std::make_unique<gauge>();
  return *slot;
}

histogram& metric_registry::make_histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                                           const label_list& labels) {
  auto lock = std::lock_guard{mutex_};
  auto& slot = find_or_make(name, help, metric_type::histogram).histograms[label_text(labels)];
  if (slot == nullptr)
    slot = std::make_unique<histogram>(bounds);
  return *slot;
}

std::string metric_registry::render(std::span<const metric_family> extra) const {
  struct block {
    metric_type type;
    std::string help;
    std::string lines;
  };
  auto blocks = std::map<std::string, block, std::less<>>{};
  {
    auto lock = std::lock_guard{mutex_};
    for (const auto& [name, family] : families_) {
      auto& [type, help, lines] = blocks.try_emplace(name, block{family.type, family.help, {}}).first->second;
      for (const auto& [labels, value] : family.counters)
        write_sample(lines, name, labels, value->value());
      for (const auto& [labels, value] : family.gauges)
        write_sample(lines, name, labels, value->value());
      for (const auto& [labels, value] : family.histograms)
        write_histogram(lines, name, labels, *value);
    }
  }
  for (const auto& family : extra) {
    auto& lines = blocks.try_emplace(family.name, block{family.type, family.help, {}}).first->second.lines;
    for (const auto& sample : family.samples)
      write_sample(lines, family.name, label_text(sample.labels), sample.value);
  }
  auto out = std::string{};
  for (const auto& [name, block] : blocks)
    fmt::format_to(std::back_inserter(out), "# HELP {0} {1}\n# TYPE {0} {2}\n{3}", name, escaped(block.help, false),
                   type_name(block.type), block.lines);
  return out;
}

} // namespace perigee::gateway
