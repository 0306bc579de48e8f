// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/draw.hpp"

#include "actors/sim/trace/quantile_table.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <span>

namespace perigee::sim {

namespace {

constexpr uint64_t second_ns = 1'000'000'000;
/// No prompt is longer, as in the public traces; a session that would need more ends.
constexpr uint64_t prompt_tokens_max = 126'195;
/// The public conversation trace has its timestamps in steps of about 3 s.
constexpr uint64_t conversation_step_ns = 3 * second_ns;
/// Of the system prompts: that of the k-th is 1 / k of that of the first.
constexpr std::array<uint64_t, 8> popularity = {840, 420, 280, 210, 168, 140, 120, 105};

struct kind_name {
  std::string_view name;
  traffic_kind kind;
};

constexpr std::array<kind_name, 4> kinds = {{{"conversation", traffic_kind::conversation},
                                             {"agent", traffic_kind::agent},
                                             {"documents", traffic_kind::documents},
                                             {"short", traffic_kind::short_prompts}}};

/// All figures of a kind. Those of conversation are measured on the public trace.
struct kind_shape {
  quantile_table turns;
  quantile_table first; // tokens of a session's first prompt beyond what it shares with others
  quantile_table added; // tokens that the next prompt has more (documents: the question)
  quantile_table output;
  quantile_table pause_ms;
};

const kind_shape& shape_of(traffic_kind kind) {
  static const auto conversation =
    kind_shape{{{0, 1}, {740, 1}, {741, 2}, {892, 2}, {893, 3}, {944, 3}, {945, 4}, {960, 4}, {990, 8}, {1000, 40}},
               {{0, 382},
                {100, 393},
                {250, 824},
                {500, 4'752},
                {750, 12'544},
                {900, 25'049},
                {950, 38'026},
                {990, 89'357},
                {1000, 125'683}},
               {{0, 1}, {250, 8}, {500, 44}, {750, 585}, {900, 4'560}, {950, 7'530}, {990, 18'762}, {1000, 91'467}},
               {{0, 1},
                {10, 3},
                {50, 10},
                {100, 24},
                {250, 156},
                {500, 350},
                {750, 472},
                {900, 597},
                {950, 698},
                {990, 1'120},
                {1000, 2'000}},
               {{0, 12'000},
                {10, 15'000},
                {50, 36'000},
                {100, 48'000},
                {250, 75'000},
                {500, 147'000},
                {750, 318'000},
                {900, 552'000},
                {950, 720'000},
                {990, 1'791'000},
                {1000, 3'210'000}}};
  static const auto agent = kind_shape{{{0, 4}, {1000, 25}},
                                       {{0, 64}, {1000, 513}},
                                       {{0, 32}, {500, 160}, {900, 768}, {1000, 4'096}},
                                       {{0, 16}, {500, 80}, {1000, 321}},
                                       {{0, 500}, {500, 4'000}, {1000, 20'000}}};
  static const auto documents = kind_shape{{{0, 2}, {1000, 9}},
                                           {{0, 8'192}, {500, 24'576}, {900, 65'536}, {1000, 98'304}},
                                           {{0, 32}, {1000, 257}},
                                           {{0, 64}, {1000, 401}},
                                           {{0, 5'000}, {500, 30'000}, {1000, 120'000}}};
  static const auto short_prompts = kind_shape{
    {{0, 1}, {1000, 1}}, {{0, 256}, {1000, 256}}, {{0, 0}, {1000, 0}}, {{0, 256}, {1000, 256}}, {{0, 0}, {1000, 0}}};
  switch (kind) {
  case traffic_kind::conversation: return conversation;
  case traffic_kind::agent: return agent;
  case traffic_kind::documents: return documents;
  case traffic_kind::short_prompts: return short_prompts;
  }
  return conversation;
}

} // namespace

draw_spec parse_draw(std::string_view text) {
  auto colon = text.find(':');
  auto name = text.substr(0, colon);
  auto seed = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  auto kind = std::ranges::find(kinds, name, &kind_name::name);
  auto value = uint64_t{0};
  auto [rest, code] = std::from_chars(seed.data(), seed.data() + seed.size(), value);
  if (kind == kinds.end() || seed.empty() || code != std::errc{} || rest != seed.data() + seed.size())
    throw failure(
      errc::invalid_argument,
      fmt::format("found \"{}\", allowed is KIND:SEED with a KIND of conversation, agent, documents or short, "
                  "and a whole number, such as conversation:1",
                  text));
  return {kind->kind, value};
}

uint64_t default_gap_ns(traffic_kind kind) noexcept {
  switch (kind) {
  case traffic_kind::conversation: return 294 * second_ns / 1000; // 12,031 requests in 3,537 s
  case traffic_kind::agent: return second_ns / 16;
  case traffic_kind::documents: return second_ns / 3;
  case traffic_kind::short_prompts: return second_ns / 40;
  }
  return second_ns;
}

trace_generator::trace_generator(draw_spec spec, uint64_t gap_ns)
  : kind_(spec.kind), gap_ns_(std::max<uint64_t>(gap_ns, 1)), arrivals_(derived_seed(spec.seed, "arrivals")),
    shapes_(derived_seed(spec.seed, "shapes")) {
  // One block that all conversations begin with, as in the public trace; system prompts of 2,048 to 8,192 tokens for
  // agents.
  auto prompts = size_t{kind_ == traffic_kind::conversation ? 1 : kind_ == traffic_kind::agent ? popularity.size() : 0};
  for (size_t i = 0; i < prompts; ++i) {
    auto blocks = kind_ == traffic_kind::agent ? shapes_.between(4, 16) : uint64_t{1};
    append_new_blocks(system_prompts_.emplace_back(), blocks);
  }
}

trace_request trace_generator::next() {
  now_ns_ += draw_exponential(arrivals_, gap_ns_);
  if (paused_.empty() || paused_.top().ready_ns > now_ns_)
    return take_turn(begin_session());
  auto turn = paused_.top();
  paused_.pop();
  return take_turn(std::move(turn));
}

trace_generator::session trace_generator::begin_session() {
  const auto& shape = shape_of(kind_);
  auto begun = session{now_ns_, sessions_++, shape.turns.draw(shapes_), {}, 0, 0};
  begin_with_system_prompt(begun);
  begun.new_tokens = shape.first.draw(shapes_);
  if (kind_ == traffic_kind::documents) {
    append_new_blocks(begun.kept, begun.new_tokens / trace_block_tokens);
    begun.kept_tokens = begun.new_tokens;
    begun.new_tokens = shape.added.draw(shapes_);
  }
  return begun;
}

void trace_generator::begin_with_system_prompt(session& begun) {
  if (system_prompts_.empty())
    return;
  auto weights = std::span{popularity}.first(system_prompts_.size());
  auto pick = shapes_.below(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
  size_t chosen = 0;
  for (; pick >= weights[chosen]; ++chosen)
    pick -= weights[chosen];
  begun.kept = system_prompts_[chosen];
  begun.kept_tokens = begun.kept.size() * trace_block_tokens;
}

trace_request trace_generator::take_turn(session turn) {
  const auto& shape = shape_of(kind_);
  auto request = trace_request{};
  request.arrival_ns = kind_ == traffic_kind::conversation ? now_ns_ - now_ns_ % conversation_step_ns : now_ns_;
  request.input_tokens = static_cast<uint32_t>(turn.kept_tokens + turn.new_tokens);
  request.output_tokens = static_cast<uint32_t>(shape.output.draw(shapes_));
  request.blocks = turn.kept;
  append_new_blocks(request.blocks, trace_blocks(request.input_tokens) - turn.kept.size());
  if (--turn.turns_left == 0)
    return request;
  turn.new_tokens = shape.added.draw(shapes_);
  if (kind_ != traffic_kind::documents) {
    turn.kept.assign(request.blocks.begin(), request.blocks.begin() + request.input_tokens / trace_block_tokens);
    turn.kept_tokens = request.input_tokens;
    turn.new_tokens += request.output_tokens;
  }
  turn.ready_ns = now_ns_ + shape.pause_ms.draw(shapes_) * 1'000'000;
  if (turn.kept_tokens + turn.new_tokens <= prompt_tokens_max)
    paused_.push(std::move(turn));
  return request;
}

void trace_generator::append_new_blocks(std::vector<uint64_t>& blocks, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i)
    blocks.push_back(next_id_++);
}

std::vector<trace_request> draw_trace(draw_spec spec, uint64_t requests, uint64_t gap_ns) {
  auto generator = trace_generator{spec, gap_ns};
  auto result = std::vector<trace_request>{};
  for (uint64_t i = 0; i < requests; ++i)
    result.push_back(generator.next());
  return result;
}

} // namespace perigee::sim
