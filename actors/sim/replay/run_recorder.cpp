// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/replay/run_recorder.hpp"

#include "actors/core/interfaces.hpp"

#include <caf/message.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace perigee::sim {

namespace {

constexpr size_t hot_blocks_max = 6;
constexpr uint64_t samples = 240; // over the trace's span; what comes later is sampled at the same pace
constexpr uint64_t sample_ns_min = 100'000'000;

struct block_uses {
  uint64_t uses = 0;
  std::optional<uint64_t> parent;
};

} // namespace

void run_recorder::begin(uint64_t start_ns, uint32_t prefills, uint32_t decodes, uint32_t first_node,
                         std::span<const trace_request> trace) {
  start_ns_ = start_ns;
  first_node_ = first_node;
  for (uint32_t i = 0; i < prefills + decodes; ++i) {
    auto is_prefill = i < prefills;
    record_.instances.push_back({is_prefill ? fmt::format("prefill-{}", i) : fmt::format("decode-{}", i - prefills),
                                 is_prefill ? instance_role::prefill : instance_role::decode});
  }
  last_steps_.resize(record_.instances.size());
  record_.requests.resize(trace.size());
  for (size_t i = 0; i < trace.size(); ++i)
    record_.requests[i].id = i;
  choose_hot_blocks(trace);
  auto span_ns = trace.empty() ? 0 : trace.back().arrival_ns;
  sample_every_ns_ = std::max(span_ns / samples, sample_ns_min);
  next_sample_ns_ = start_ns;
}

/// The blocks that most requests have. Of a chain that always comes as a whole only the first stands for it.
void run_recorder::choose_hot_blocks(std::span<const trace_request> trace) {
  auto blocks = std::map<uint64_t, block_uses>{};
  for (const auto& request : trace) {
    auto parent = std::optional<uint64_t>{};
    for (auto id : request.blocks) {
      auto& block = blocks[id];
      ++block.uses;
      block.parent = parent;
      parent = id;
    }
  }
  auto heads = std::vector<std::pair<uint64_t, uint64_t>>{}; // uses, id
  for (const auto& [id, block] : blocks)
    if (block.uses > 1 && (!block.parent || blocks.at(*block.parent).uses != block.uses))
      heads.emplace_back(block.uses, id);
  std::ranges::sort(
    heads, [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  heads.resize(std::min(heads.size(), hot_blocks_max));
  for (auto [uses, id] : heads) {
    hot_ids_.push_back(id);
    record_.hot_blocks.push_back({fmt::format("block {}, in {} requests", id, uses), {}});
  }
}

void run_recorder::opened(uint64_t client, const request_id& request) {
  clients_.emplace(request, client);
}

void run_recorder::ended(uint64_t client, uint64_t now_ns) {
  record_.requests.at(client).end_ns = since_start(now_ns);
}

run_request* run_recorder::find(const request_id& request) {
  auto found = clients_.find(request);
  return found == clients_.end() ? nullptr : &record_.requests.at(found->second);
}

void run_recorder::passed(const caf::message& what, uint64_t now_ns) {
  if (what.match_elements<placed>()) {
    const auto& news = what.get_as<placed>(0);
    if (auto* request = find(news.id.request)) {
      request->placed_ns = std::min(request->placed_ns, since_start(now_ns));
      request->prefill = news.prefill.node - first_node_;
      request->decode = news.decode.node - first_node_;
    }
  } else if (what.match_elements<granted>()) {
    const auto& news = what.get_as<granted>(0);
    if (auto found = clients_.find(news.id.request); found != clients_.end())
      immediates_[{news.from.node, news.immediate}] = found->second;
  } else if (what.match_elements<stage_ready>()) {
    const auto& news = what.get_as<stage_ready>(0);
    if (auto found = clients_.find(news.id.request); found != clients_.end() && !news.here.slots.empty())
      stages_[{news.from.node - first_node_, found->second}] = news.here.slots.front();
  } else if (what.match_elements<stage_left>()) {
    const auto& news = what.get_as<stage_left>(0);
    if (auto found = clients_.find(news.id.request); found != clients_.end())
      stages_.erase({news.from.node - first_node_, found->second});
  } else if (what.match_elements<joined>()) {
    if (auto* request = find(what.get_as<joined>(0).id.request))
      request->joined_ns = std::min(request->joined_ns, since_start(now_ns));
  }
}

void run_recorder::chunk(uint32_t instance, uint32_t prompt, bool fresh, uint64_t begin_ns, uint64_t end_ns,
                         uint64_t tokens, std::optional<uint64_t> client) {
  auto& open = open_chunks_[{instance, prompt}];
  if (fresh)
    open = {since_start(begin_ns), {}};
  if (slices_wanted_)
    open.slices.push_back(
      {slice_kind::chunk, instance, since_start(begin_ns), since_start(end_ns), no_request, tokens, 0, 0});
  if (!client) {
    if (auto owner = stage_of(instance, prompt))
      keep(open, *owner);
    return;
  }
  record_.requests.at(*client).prefill_end_ns = since_start(end_ns);
  keep(open, *client);
  open_chunks_.erase({instance, prompt});
}

/// Whose stage it is, if the instance runs that prompt for a group.
std::optional<uint64_t> run_recorder::stage_of(uint32_t instance, uint32_t prompt) const {
  for (auto at = stages_.lower_bound({instance, 0}); at != stages_.end() && at->first.first == instance; ++at)
    if (at->second == prompt)
      return at->first.second;
  return std::nullopt;
}

void run_recorder::keep(chunks& of, uint64_t client) {
  auto& request = record_.requests.at(client);
  request.prefill_begin_ns = std::min(request.prefill_begin_ns, of.begin_ns);
  for (auto& slice : of.slices) {
    slice.request = client;
    record_.slices.push_back(slice);
  }
  of.slices.clear();
}

void run_recorder::step(uint32_t instance, uint64_t begin_ns, uint64_t end_ns, uint32_t rows) {
  if (!slices_wanted_)
    return;
  auto begin = since_start(begin_ns);
  auto& last = last_steps_.at(instance);
  if (!last || record_.slices[*last].end_ns != begin || record_.slices[*last].rows != rows) {
    last = record_.slices.size();
    record_.slices.push_back({slice_kind::steps, instance, begin, begin, no_request, 0, 0, rows});
  }
  auto& slice = record_.slices[*last];
  slice.end_ns = since_start(end_ns);
  slice.tokens += rows;
  ++slice.steps;
}

void run_recorder::fetched(uint32_t to_node, uint64_t begin_ns, uint64_t end_ns, double tokens) {
  if (slices_wanted_)
    record_.slices.push_back({slice_kind::fetch, to_node - first_node_, since_start(begin_ns), since_start(end_ns),
                              no_request, static_cast<uint64_t>(tokens + 0.5), 0, 0});
}

void run_recorder::handed_over(uint32_t to_node, uint32_t immediate, uint64_t begin_ns, uint64_t end_ns,
                               double tokens) {
  auto found = immediates_.find({to_node, immediate});
  if (found == immediates_.end())
    return;
  auto client = found->second;
  record_.requests.at(client).transfer_end_ns = since_start(end_ns);
  if (!slices_wanted_)
    return;
  auto [at, is_first] = hand_overs_.emplace(client, record_.slices.size());
  if (is_first)
    record_.slices.push_back({slice_kind::hand_over, to_node - first_node_, since_start(begin_ns), 0, client, 0, 0, 0});
  auto& slice = record_.slices[at->second];
  slice.end_ns = since_start(end_ns);
  slice.tokens += static_cast<uint64_t>(tokens + 0.5);
}

void run_recorder::sample(uint64_t now_ns, const count_replicas& replicas) {
  for (size_t i = 0; i < hot_ids_.size(); ++i) {
    auto& counts = record_.hot_blocks[i].replicas;
    auto count = replicas(hot_ids_[i]);
    if (counts.empty() || counts.back().second != count)
      counts.emplace_back(since_start(now_ns), count);
  }
  next_sample_ns_ = now_ns + sample_every_ns_;
}

run_record run_recorder::finish(std::span<const request_record> records) {
  for (size_t i = 0; i < records.size(); ++i) {
    const auto& from = records[i];
    auto& to = record_.requests.at(i);
    to.arrival_ns = from.arrival_ns;
    to.input_tokens = from.input_tokens;
    to.output_tokens = from.output_tokens;
    to.reused_tokens = from.cached_tokens;
    if (from.ttft_ns > 0) {
      to.ttft_ns = from.ttft_ns;
      to.first_token_ns = from.arrival_ns + from.ttft_ns;
    }
    if (from.tbt_ns > 0)
      to.tbt_ns = from.tbt_ns;
    if (!from.finished)
      to.rejected = to_string(from.error);
  }
  return std::move(record_);
}

} // namespace perigee::sim
