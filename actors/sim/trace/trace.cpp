// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/trace.hpp"

#include "actors/sim/trace/trace_line.hpp"
#include "transport/base/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>

namespace perigee::sim {

namespace {

constexpr size_t read_bytes = 256 * 1024;
/// A file without line ends is not read into memory as a whole.
constexpr size_t line_bytes_max = 64 * 1024 * 1024;

} // namespace

trace_reader::trace_reader(std::istream& in, std::string name, uint32_t block_tokens)
  : in_(in), name_(std::move(name)), block_tokens_(block_tokens) {}

bool trace_reader::next(trace_request& request) {
  auto line = std::string_view{};
  do {
    if (!next_line(line))
      return false;
  } while (line.find_first_not_of(" \t\r") == std::string_view::npos);
  auto fault = parse_trace_line(line, request);
  if (!fault.empty())
    refuse(fault);
  check_order(request);
  check_blocks(request);
  last_arrival_ns_ = request.arrival_ns;
  return true;
}

bool trace_reader::next_line(std::string_view& line) {
  for (auto from = begin_;;) {
    auto end = buffer_.find('\n', from);
    if (end == std::string::npos && ended_)
      end = buffer_.size();
    if (end != std::string::npos) {
      if (begin_ == buffer_.size())
        return false;
      ++line_;
      line = std::string_view{buffer_}.substr(begin_, end - begin_);
      begin_ = std::min(end + 1, buffer_.size());
      return true;
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    from = buffer_.size();
    if (from > line_bytes_max) {
      ++line_;
      refuse(fmt::format("more than {} MiB without a line end; one request is one line", line_bytes_max >> 20));
    }
    buffer_.resize(from + read_bytes);
    in_.read(buffer_.data() + from, read_bytes);
    buffer_.resize(from + static_cast<size_t>(in_.gcount()));
    if (in_.bad())
      throw failure(errc::io_error, fmt::format("{}: cannot be read after line {}; is it a file?", name_, line_));
    ended_ = !in_;
  }
}

void trace_reader::refuse(const std::string& why) const {
  throw failure(errc::invalid_argument, fmt::format("{}: line {}: {}", name_, line_, why));
}

void trace_reader::check_order(const trace_request& request) const {
  if (request.arrival_ns < last_arrival_ns_)
    refuse(fmt::format("timestamp: found {} after {}; the lines must be sorted by timestamp",
                       trace_timestamp(request.arrival_ns), trace_timestamp(last_arrival_ns_)));
}

void trace_reader::check_blocks(const trace_request& request) {
  auto expected = trace_blocks(request.input_tokens, block_tokens_);
  if (request.blocks.size() != expected)
    refuse(fmt::format("hash_ids: found {} ids, allowed are {}: one per {} tokens of input_length {}, the last may be "
                       "partial",
                       request.blocks.size(), expected, block_tokens_, request.input_tokens));
  auto offered = origin{0, line_, true};
  for (auto block = request.blocks.begin(); block != request.blocks.end(); ++block) {
    auto known = origins_.find_or_add(*block, offered).first;
    if (known.is_first != offered.is_first || known.parent != offered.parent) {
      if (std::find(request.blocks.begin(), block, *block) != block)
        refuse(
          fmt::format("hash_ids: found id {} twice; an id stands for a whole prefix, so once in a request", *block));
      refuse(
        fmt::format("hash_ids: id {} {}, but on line {} it {}; equal ids mean equal whole prefixes, so an id has one "
                    "parent: give this block an id of its own",
                    *block, offered.text(), uint64_t{known.line}, known.text()));
    }
    offered = {*block, line_, false};
  }
}

std::string trace_reader::origin::text() const {
  return is_first ? std::string{"is the first of its request"} : fmt::format("follows id {}", parent);
}

std::vector<trace_request> read_trace(std::istream& in, const std::string& name) {
  auto reader = trace_reader{in, name};
  auto result = std::vector<trace_request>{};
  for (auto request = trace_request{}; reader.next(request);)
    result.push_back(request);
  if (result.empty())
    throw failure(errc::invalid_argument, fmt::format("{}: found no request, allowed is at least one line", name));
  return result;
}

std::vector<trace_request> read_trace_file(const std::string& path) {
  if (path == "-")
    return read_trace(std::cin, "standard input");
  auto in = std::ifstream{path, std::ios::binary};
  if (!in)
    throw failure(errc::not_found,
                  fmt::format("{}: cannot be opened; name a JSONL trace, or - for standard input", path));
  return read_trace(in, path);
}

std::string trace_timestamp(uint64_t arrival_ns) {
  auto text = fmt::format("{}", arrival_ns / 1'000'000);
  if (auto fraction = arrival_ns % 1'000'000; fraction != 0) {
    text += fmt::format(".{:06}", fraction);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text;
}

void write_trace_line(std::ostream& out, const trace_request& request) {
  auto line = fmt::memory_buffer{};
  fmt::format_to(std::back_inserter(line),
                 "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{}]}}\n",
                 trace_timestamp(request.arrival_ns), request.input_tokens, request.output_tokens,
                 fmt::join(request.blocks, ", "));
  out.write(line.data(), static_cast<std::streamsize>(line.size()));
}

} // namespace perigee::sim
