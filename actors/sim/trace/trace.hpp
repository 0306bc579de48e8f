// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/sim/trace/flat_id_map.hpp"

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace perigee::sim {

/// Tokens of one `hash_ids` entry of a public trace; the last block of a request may be partial. Traces of other
/// sources may have other blocks.
inline constexpr uint32_t trace_block_tokens = 512;
/// Largest `input_length` and `output_length`, so that their sum fits 32 bits.
inline constexpr uint32_t trace_tokens_max = 1u << 30;
/// Largest `timestamp`: some 31 years. Timestamps count from the trace's start.
inline constexpr uint64_t trace_timestamp_ms_max = 1'000'000'000'000;

/// One line of a trace.
struct trace_request {
  uint64_t arrival_ns = 0; ///< from the trace's start
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> blocks; ///< equal ids mean equal whole prefixes

  friend bool operator==(const trace_request&, const trace_request&) = default;
};

constexpr uint64_t trace_blocks(uint64_t input_tokens, uint32_t block_tokens = trace_block_tokens) noexcept {
  return (input_tokens + block_tokens - 1) / block_tokens;
}

/// Reads the public JSONL format, one request at a time, and checks while it reads: fields are there once and have
/// their type and range, timestamps do not fall, there is one id per block, no id stands twice in a request, and
/// every id has one parent (so one position). Other fields are ignored, blank lines and CRLF are allowed. Timestamps
/// may have up to six decimals. Memory grows with the number of different ids only.
class trace_reader {
public:
  /// `in` must outlive the reader; `name` is what messages call it; an id stands for `block_tokens` tokens (at least
  /// 1).
  trace_reader(std::istream& in, std::string name, uint32_t block_tokens = trace_block_tokens);

  /// False at the end; then `request` is unchanged. Throws `failure`: `invalid_argument` names the line, the value, the
  /// rule and what to do, `io_error` says that the file could not be read. Nothing may be read after that.
  bool next(trace_request& request);

  /// Of the last request read, from 1.
  uint64_t line() const noexcept {
    return line_;
  }

private:
  struct origin {
    uint64_t parent = 0;
    uint64_t line : 63 = 0;    // that named it first; 0: none
    uint64_t is_first : 1 = 0; // of its request, so without a parent

    bool is_free() const noexcept {
      return line == 0;
    }
    std::string text() const;
  };

  bool next_line(std::string_view& line);
  [[noreturn]] void refuse(const std::string& why) const;
  void check_order(const trace_request& request) const;
  void check_blocks(const trace_request& request);

  std::istream& in_;
  std::string name_;
  uint32_t block_tokens_;
  std::string buffer_;
  size_t begin_ = 0;
  bool ended_ = false;
  uint64_t line_ = 0;
  uint64_t last_arrival_ns_ = 0;
  flat_id_map<origin> origins_;
};

/// A whole trace. Throws as `trace_reader`, and `invalid_argument` where there is no request.
std::vector<trace_request> read_trace(std::istream& in, const std::string& name);

/// The same from a file; "-" is standard input. `not_found` where it cannot be opened.
std::vector<trace_request> read_trace_file(const std::string& path);

/// Milliseconds of a time in nanoseconds, as in a trace: "27000" or "0.25".
std::string trace_timestamp(uint64_t arrival_ns);

/// Writes requests as lines that `trace_reader` reads back to equal requests.
void write_trace_line(std::ostream& out, const trace_request& request);

} // namespace perigee::sim
