// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/work_check.hpp"

#include "kernels/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace perigee::kernels::cpu {

namespace {

template <class... Args>
status wrong(fmt::format_string<Args...> format, Args&&... args) {
  return {errc::invalid_argument, fmt::format(format, std::forward<Args>(args)...)};
}

status check_token(const std::string& field, token_id token, const work_limits& limits) {
  if (token < 0 || static_cast<uint32_t>(token) >= limits.vocab)
    return wrong("{} is {}; allowed: 0 to {}", field, token, limits.vocab - 1);
  return {};
}

/// Of a slot, or of a place where a slot is `places` of them.
status check_slot(const std::string& field, uint32_t slot, uint64_t allowed, const work_limits& limits,
                  uint32_t places = 1) {
  if (slot < allowed)
    return {};
  auto is_lent = slot / places >= limits.slots && slot / places - limits.slots < limits.lent;
  return wrong("{} is {}{}; allowed: 0 to {}", field, slot, is_lent ? ", which is lent and cannot be written" : "",
               allowed - 1);
}

/// `blocks` must cover positions [0, `tokens`) with slots, and those from `written` on with slots of the pool; or with
/// places, of which a slot has that many.
status check_blocks(const std::string& field, std::span<const uint32_t> blocks, uint64_t written, uint64_t tokens,
                    const work_limits& limits, uint32_t places = 1) {
  auto needed = (tokens + limits.block_tokens - 1) / limits.block_tokens;
  if (blocks.size() < needed)
    return wrong("{} has {} slots; {} tokens need {}", field, blocks.size(), tokens, needed);
  auto readable = uint64_t{places} * (limits.slots + limits.lent);
  auto writable = uint64_t{places} * limits.slots;
  for (auto i = size_t{0}; i < needed; ++i) {
    auto allowed = i < written / limits.block_tokens ? readable : writable;
    if (blocks[i] >= allowed)
      return check_slot(fmt::format("{}[{}]", field, i), blocks[i], allowed, limits, places);
  }
  return {};
}

/// Each of a passage's places must hold all layers of the item within its slot, and none be that of two blocks.
status check_places(std::span<const uint32_t> places, layer_span layers, uint32_t of_model) {
  auto count = layers.end_of(of_model) - layers.first;
  for (auto place : places)
    if (place % of_model + count > of_model)
      return wrong("blocks names place {} for {} layers; allowed: those that end in its slot", place, count);
  auto sorted = std::vector<uint32_t>(places.begin(), places.end());
  std::ranges::sort(sorted);
  auto overlap = [count](uint32_t before, uint32_t after) { return after - before < count; };
  if (auto twice = std::ranges::adjacent_find(sorted, overlap); twice != sorted.end())
    return wrong("blocks names place {} twice; allowed: once", twice[1]);
  return {};
}

} // namespace

status check(const prefill_work& work, const work_limits& limits) {
  if (work.tokens.empty())
    return wrong("tokens is empty; allowed: at least one");
  auto end = uint64_t{work.start} + work.tokens.size();
  if (end > limits.context)
    return wrong("start + tokens is {}; allowed: at most {}, the model's context", end, limits.context);
  for (auto i = size_t{0}; i < work.tokens.size(); ++i)
    if (auto bad = check_token(fmt::format("tokens[{}]", i), work.tokens[i], limits); !bad.ok())
      return bad;
  auto places = work.passage == 0 ? 1 : limits.layers;
  if (auto bad = check_blocks("blocks", work.blocks, work.start, end, limits, places); !bad.ok())
    return bad;
  // The same slot twice would mix positions.
  auto needed = std::span{work.blocks}.first((end + limits.block_tokens - 1) / limits.block_tokens);
  if (work.passage != 0) {
    if (auto bad = check_places(needed, work.layers, limits.layers); !bad.ok())
      return bad;
  } else {
    auto sorted = std::vector<uint32_t>(needed.begin(), needed.end());
    std::ranges::sort(sorted);
    if (auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end())
      return wrong("blocks names slot {} twice; allowed: once", *twice);
  }
  for (auto i = size_t{0}; i < work.samples.size(); ++i)
    if (auto bad = check_sample(work.samples[i], limits.vocab); !bad.ok())
      return wrong("samples[{}].{}", i, bad.context);
  return {};
}

status check(const decode_work& work, const work_limits& limits) {
  if (work.rows.empty())
    return wrong("rows is empty; allowed: at least one");
  auto written = std::vector<uint32_t>{};
  for (auto i = size_t{0}; i < work.rows.size(); ++i) {
    const auto& row = work.rows[i];
    if (row.position >= limits.context)
      return wrong("rows[{}].position is {}; allowed: 0 to {}", i, row.position, limits.context - 1);
    if (auto bad = check_token(fmt::format("rows[{}].token", i), row.token, limits); !bad.ok())
      return bad;
    if (auto bad =
          check_blocks(fmt::format("rows[{}].blocks", i), row.blocks, row.position, uint64_t{row.position} + 1, limits);
        !bad.ok())
      return bad;
    if (auto bad = check_sample(row.sample, limits.vocab); !bad.ok())
      return wrong("rows[{}].sample.{}", i, bad.context);
    written.push_back(row.blocks[row.position / limits.block_tokens]);
  }
  std::ranges::sort(written);
  if (auto twice = std::ranges::adjacent_find(written); twice != written.end())
    return wrong("rows write slot {} twice; allowed: one row a slot", *twice);
  return {};
}

status check(const copy_work& work, const work_limits& limits) {
  for (auto i = size_t{0}; i < work.slots.size(); ++i) {
    auto [from, to] = work.slots[i];
    if (auto bad = check_slot(fmt::format("slots[{}].from", i), from, limits.slots + limits.lent, limits); !bad.ok())
      return bad;
    if (auto bad = check_slot(fmt::format("slots[{}].to", i), to, limits.slots, limits); !bad.ok())
      return bad;
    if (from == to)
      return wrong("slots[{}] copies slot {} to itself; allowed: another slot", i, from);
  }
  return {};
}

} // namespace perigee::kernels::cpu
