// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perigee::gateway {

/// Label names and values, in the order they are to be written.
using label_list = std::vector<std::pair<std::string, std::string>>;

/// Only grows. Any thread.
class counter {
public:
  void add(double amount = 1) noexcept {
    value_.fetch_add(amount, std::memory_order_relaxed);
  }
  double value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

private:
  std::atomic<double> value_{0};
};

/// Goes up and down. Any thread.
class gauge {
public:
  void set(double value) noexcept {
    value_.store(value, std::memory_order_relaxed);
  }
  void add(double amount) noexcept {
    value_.fetch_add(amount, std::memory_order_relaxed);
  }
  double value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

private:
  std::atomic<double> value_{0};
};

/// Counts observations by upper bound. Any thread; a reader may see an observation's count before its sum.
class histogram {
public:
  /// `bounds` ascend; a last bucket without bound is implied.
  explicit histogram(std::span<const double> bounds);

  void observe(double value) noexcept;

  const std::vector<double>& bounds() const noexcept {
    return bounds_;
  }
  /// Observations in bucket `index` alone; the last index is the bucket without bound.
  uint64_t count(size_t index) const noexcept {
    return counts_[index].load(std::memory_order_relaxed);
  }
  double sum() const noexcept {
    return sum_.load(std::memory_order_relaxed);
  }

private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0};
};

enum class metric_type : uint8_t { counter, gauge, histogram };

struct metric_sample {
  label_list labels;
  double value = 0;
};

/// Values kept elsewhere, handed in for one rendering. `type` is counter or gauge.
struct metric_family {
  std::string name;
  std::string help;
  metric_type type = metric_type::gauge;
  std::vector<metric_sample> samples;
};

/// The metrics of one process, rendered as Prometheus text (exposition format 0.0.4). All calls from any thread.
class metric_registry {
public:
  /// Finds or makes the member of family `name` with these labels; the reference is good as long as the registry. A
  /// family has one type and one help text: those of the first call count, another type is an error (throws `failure`).
  counter& make_counter(std::string_view name, std::string_view help, const label_list& labels = {});
  gauge& make_gauge(std::string_view name, std::string_view help, const label_list& labels = {});
  histogram& make_histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                            const label_list& labels = {});

  /// All families by name, those of `extra` among them (samples of a name that exists here too join that family).
  std::string render(std::span<const metric_family> extra = {}) const;

private:
  struct family {
    metric_type type;
    std::string help;
    // by rendered labels, so that the order is the same in every scrape
    std::map<std::string, std::unique_ptr<counter>> counters;
    std::map<std::string, std::unique_ptr<gauge>> gauges;
    std::map<std::string, std::unique_ptr<histogram>> histograms;
  };

  family& find_or_make(std::string_view name, std::string_view help, metric_type type);

  mutable std::mutex mutex_;
  std::map<std::string, family, std::less<>> families_;
};

} // namespace perigee::gateway
