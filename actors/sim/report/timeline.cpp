// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/report/timeline.hpp"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <string_view>

namespace perigee::sim {

namespace {

/// Tracks of one instance: its work, then lanes of transfers.
constexpr size_t lanes_max = 1000;

std::string quoted(std::string_view text) {
  return boost::json::serialize(boost::json::string_view{text.data(), text.size()});
}

/// Microseconds with their nanoseconds.
std::string micros(uint64_t ns) {
  return fmt::format("{}.{:03}", ns / 1000, ns % 1000);
}

/// One run's slices, thinned out, on their tracks.
class run_timeline {
public:
  run_timeline(const run_record& run, size_t process, size_t slices_max) : run_(run), process_(process) {
    choose(slices_max);
    assign_lanes();
  }

  void write(std::ostream& out, bool& first);

private:
  struct placed_slice {
    run_slice slice;
    size_t track = 0;
  };

  void choose(size_t slices_max);
  void assign_lanes();
  size_t track(uint32_t instance, size_t lane) const {
    return instance * (lanes_max + 1) + lane;
  }
  void event(std::string text);
  void write_names();
  void write_slice(const placed_slice& placed);
  void write_arrows();
  void write_rejects();
  const placed_slice* steps_at(uint32_t instance, uint64_t at_ns) const;

  const run_record& run_;
  const size_t process_;
  uint64_t stride_ = 1;              ///< every so many requests one is shown
  std::vector<placed_slice> steps_;  ///< by instance, then by time
  std::vector<placed_slice> others_; ///< by time
  std::map<size_t, std::string> lane_names_;
  std::ostream* out_ = nullptr;
  bool* first_ = nullptr;
};

/// Joins neighbours until each but the last of an instance lasts `length_min_ns`.
std::vector<run_slice> merged(std::vector<run_slice> steps, uint64_t length_min_ns) {
  std::ranges::sort(steps, [](const run_slice& a, const run_slice& b) {
    return std::pair{a.instance, a.begin_ns} < std::pair{b.instance, b.begin_ns};
  });
  auto result = std::vector<run_slice>{};
  for (const auto& slice : steps) {
    auto joins = !result.empty() && result.back().instance == slice.instance
                 && result.back().end_ns - result.back().begin_ns < length_min_ns
                 && slice.begin_ns - result.back().begin_ns < length_min_ns;
    if (!joins) {
      result.push_back(slice);
      continue;
    }
    auto& last = result.back();
    last.end_ns = std::max(last.end_ns, slice.end_ns);
    last.tokens += slice.tokens;
    last.steps += slice.steps;
    last.rows = std::max(last.rows, slice.rows);
  }
  return result;
}

void run_timeline::choose(size_t slices_max) {
  auto steps = std::vector<run_slice>{};
  auto others = size_t{0};
  auto end_ns = uint64_t{0};
  for (const auto& slice : run_.slices) {
    if (slice.kind == slice_kind::steps)
      steps.push_back(slice);
    else
      ++others;
    end_ns = std::max(end_ns, slice.end_ns);
  }
  auto share = std::max<size_t>(slices_max / 2, 1);
  auto is_many = steps.size() > share;
  for (const auto& slice : merged(std::move(steps), is_many ? end_ns * run_.instances.size() / share : 0))
    steps_.push_back({slice, track(slice.instance, 0)});
  // Requests are numbered in the order of their arrival, so that a stride takes them evenly.
  stride_ = (others + share - 1) / share;
  stride_ = std::max<uint64_t>(stride_, 1);
  auto strangers = uint64_t{0}; // of no known request
  for (const auto& slice : run_.slices)
    if (slice.kind != slice_kind::steps && (slice.request == no_request ? strangers++ : slice.request) % stride_ == 0)
      others_.push_back({slice, track(slice.instance, 0)});
  std::ranges::stable_sort(others_, {}, [](const placed_slice& it) { return it.slice.begin_ns; });
}

void run_timeline::assign_lanes() {
  auto free_at = std::map<uint32_t, std::vector<uint64_t>>{};
  for (auto& [slice, where] : others_) {
    if (slice.kind == slice_kind::chunk)
      continue;
    auto& lanes = free_at[slice.instance];
    auto lane = static_cast<size_t>(std::ranges::find_if(lanes, [&](uint64_t at) { return at <= slice.begin_ns; })
                                    - lanes.begin());
    if (lane == lanes.size() && lane < lanes_max)
      lanes.push_back(0);
    lane = std::min(lane, lanes_max - 1);
    lanes[lane] = slice.end_ns;
    where = track(slice.instance, lane + 1);
    lane_names_.try_emplace(where, fmt::format("{} in {}", run_.instances.at(slice.instance).name, lane + 1));
  }
}

void run_timeline::event(std::string text) {
  *out_ << (*first_ ? "\n" : ",\n") << text;
  *first_ = false;
}

void run_timeline::write_names() {
  auto name = [&](std::string_view what, size_t tid, std::string_view text) {
    event(fmt::format(R"({{"ph":"M","pid":{},"tid":{},"name":"{}","args":{{"name":{}}}}})", process_, tid, what,
                      quoted(text)));
  };
  auto note = stride_ == 1 ? std::string{} : fmt::format(" (one of {} requests shown)", stride_);
  name("process_name", 0, run_.name + note);
  for (uint32_t i = 0; i < run_.instances.size(); ++i)
    name("thread_name", track(i, 0), run_.instances[i].name);
  for (const auto& [tid, text] : lane_names_)
    name("thread_name", tid, text);
  for (uint32_t i = 0; i < run_.instances.size(); ++i)
    event(fmt::format(R"({{"ph":"M","pid":{},"tid":{},"name":"thread_sort_index","args":{{"sort_index":{}}}}})",
                      process_, track(i, 0), track(i, 0)));
  for (const auto& [tid, text] : lane_names_)
    event(fmt::format(R"({{"ph":"M","pid":{},"tid":{},"name":"thread_sort_index","args":{{"sort_index":{}}}}})",
                      process_, tid, tid));
}

void run_timeline::write_slice(const placed_slice& placed) {
  const auto& slice = placed.slice;
  auto head = fmt::format(R"({{"ph":"X","pid":{},"tid":{},"ts":{},"dur":{},)", process_, placed.track,
                          micros(slice.begin_ns), micros(slice.end_ns - std::min(slice.begin_ns, slice.end_ns)));
  switch (slice.kind) {
  case slice_kind::chunk:
    return event(head
                 + fmt::format(R"("cat":"prefill","name":"request {}","args":{{"request":{},"tokens":{}}}}})",
                               slice.request, slice.request, slice.tokens));
  case slice_kind::steps:
    return event(
      head
      + fmt::format(R"("cat":"decode","name":"decode","args":{{"steps":{},"requests_max":{},"tokens":{}}}}})",
                    slice.steps, slice.rows, slice.tokens));
  case slice_kind::fetch:
    return event(head + fmt::format(R"("cat":"fetch","name":"fetch","args":{{"tokens":{}}}}})", slice.tokens));
  case slice_kind::hand_over:
    return event(head
                 + fmt::format(R"("cat":"hand-over","name":"hand-over {}","args":{{"request":{},"tokens":{}}}}})",
                               slice.request, slice.request, slice.tokens));
  }
}

const run_timeline::placed_slice* run_timeline::steps_at(uint32_t instance, uint64_t at_ns) const {
  auto found = std::ranges::partition_point(steps_, [&](const placed_slice& it) {
    return it.slice.instance < instance || (it.slice.instance == instance && it.slice.end_ns <= at_ns);
  });
  return found == steps_.end() || found->slice.instance != instance ? nullptr : &*found;
}

void run_timeline::write_arrows() {
  struct path {
    const placed_slice* chunk = nullptr;
    const placed_slice* hand_over = nullptr;
  };
  auto paths = std::map<uint64_t, path>{};
  for (const auto& placed : others_) {
    if (placed.slice.kind == slice_kind::chunk)
      paths[placed.slice.request].chunk = &placed;
    else if (placed.slice.kind == slice_kind::hand_over)
      paths[placed.slice.request].hand_over = &placed;
  }
  auto arrow = [&](std::string_view phase, uint64_t request, size_t tid, uint64_t at_ns) {
    event(fmt::format(R"({{"ph":"{}","pid":{},"tid":{},"ts":{},"id":{},"cat":"request","name":"request","bp":"e"}})",
                      phase, process_, tid, micros(at_ns), quoted(fmt::format("{}:{}", process_, request))));
  };
  for (const auto& request : run_.requests) {
    auto found = paths.find(request.id);
    if (found == paths.end() || found->second.chunk == nullptr)
      continue;
    const auto* joined = request.joined_ns == never_ns ? nullptr : steps_at(request.decode, request.joined_ns);
    const auto* hand_over = found->second.hand_over;
    if (joined == nullptr && hand_over == nullptr)
      continue;
    arrow("s", request.id, found->second.chunk->track, found->second.chunk->slice.begin_ns);
    if (hand_over != nullptr)
      arrow(joined == nullptr ? "f" : "t", request.id, hand_over->track,
            std::max(hand_over->slice.begin_ns, found->second.chunk->slice.begin_ns));
    if (joined != nullptr)
      arrow("f", request.id, joined->track, std::max(joined->slice.begin_ns, request.joined_ns));
  }
}

void run_timeline::write_rejects() {
  for (const auto& request : run_.requests)
    if (!request.rejected.empty() && request.id % stride_ == 0)
      event(fmt::format(
        R"({{"ph":"i","s":"p","pid":{},"tid":0,"ts":{},"cat":"reject","name":"rejected","args":{{"request":{},"why":{}}}}})",
        process_, micros(request.arrival_ns), request.id, quoted(request.rejected)));
}

void run_timeline::write(std::ostream& out, bool& first) {
  out_ = &out;
  first_ = &first;
  write_names();
  for (const auto& placed : steps_)
    write_slice(placed);
  for (const auto& placed : others_)
    write_slice(placed);
  write_arrows();
  write_rejects();
}

} // namespace

void write_timeline(std::ostream& out, std::span<const run_record> runs, const timeline_options& options) {
  out << R"({"displayTimeUnit":"ms","traceEvents":[)";
  auto first = true;
  auto share = options.slices_max / std::max<size_t>(runs.size(), 1);
  for (size_t i = 0; i < runs.size(); ++i)
    run_timeline{runs[i], i + 1, share}.write(out, first);
  out << "\n]}\n";
}

} // namespace perigee::sim
