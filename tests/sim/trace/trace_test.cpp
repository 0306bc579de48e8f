// SPDX-License-Identifier: Apache-2.0
#include "actors/sim/trace/trace.hpp"

#include "tests/support/testing.hpp"
#include "transport/base/status.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <sstream>

using namespace perigee;
using namespace perigee::sim;

namespace {

std::vector<trace_request> read(const std::string& text) {
  auto in = std::istringstream{text};
  return read_trace(in, "t.jsonl");
}

/// What a trace is refused with, or "accepted".
std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const failure& error) {
    CHECK(error.code() == errc::invalid_argument);
    return error.what();
  }
  return "accepted";
}

std::string line(const std::string& timestamp, const std::string& input, const std::string& output,
                 const std::string& ids) {
  return R"({"timestamp": )" + timestamp + R"(, "input_length": )" + input + R"(, "output_length": )" + output
         + R"(, "hash_ids": [)" + ids + "]}\n";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), text)

} // namespace

TEST_CASE("trace: a line becomes a request") {
  auto requests = read(line("27000", "700", "52", "1, 18446744073709551615"));
  REQUIRE(requests.size() == 1);
  CHECK(requests[0] == trace_request{27'000'000'000, 700, 52, {1, UINT64_MAX}});
}

TEST_CASE("trace: fields may stand in any order, and fields that nobody reads are ignored whatever they hold") {
  auto requests = read(
    R"({"hash_ids":[1],"user":{"timestamp":"x","tags":[1.5e9,null,true]},"output_length":3,"note":"ü\n","input_length":512,)"
    R"("hash\u005fids2":[],"timestamp":5})");
  REQUIRE(requests.size() == 1);
  CHECK(requests[0] == trace_request{5'000'000, 512, 3, {1}});
}

TEST_CASE("trace: a key may be written with escapes") {
  CHECK(read(R"({"hash\u005fids":[1],"output_length":3,"input_length":512,"timestamp":5})").at(0).blocks.at(0) == 1);
}

TEST_CASE("trace: CRLF, blank lines and a last line without its end are accepted, and lines are counted") {
  auto text = "\r\n" + line("1", "5", "1", "7") + "   \n\n"
              + R"({"timestamp":2,"input_length":5,"output_length":1,"hash_ids":[8]})";
  text.insert(text.find('}') + 1, "\r");
  CHECK(read(text).size() == 2);
  CHECK_CONTAINS(refusal(text + "\n" + line("3", "5", "1", "9, 9")), "t.jsonl: line 6: ");
}

TEST_CASE("trace: timestamps keep six decimals exactly, and no more are allowed") {
  CHECK(read(line("0.1", "5", "1", "7")).at(0).arrival_ns == 100'000);
  CHECK(read(line("12.000001", "5", "1", "7")).at(0).arrival_ns == 12'000'001);
  CHECK(read(line("12.0000010", "5", "1", "7")).at(0).arrival_ns == 12'000'001);
  CHECK_CONTAINS(refusal(line("12.0000001", "5", "1", "7")), "line 1: timestamp: found 12.0000001, allowed are 0 to");
  CHECK_CONTAINS(refusal(line("1e3", "5", "1", "7")), "timestamp: found 1e3");
  CHECK_CONTAINS(refusal(line("-1", "5", "1", "7")), "timestamp: found -1");
  CHECK_CONTAINS(refusal(line("1000000000001", "5", "1", "7")), "timestamp: found 1000000000001");
  CHECK_CONTAINS(refusal(line("1e400", "5", "1", "7")), "line 1: ");
}

TEST_CASE("trace: lengths are whole numbers from 1") {
  CHECK(read(line("0", "5.0", "1", "7")).at(0).input_tokens == 5);
  for (std::string bad :
       {"0", "-5", "5.5", "1073741825", "18446744073709551616", "5e0", "99999999999999999999999999"}) {
    CHECK_CONTAINS(refusal(line("0", bad, "1", "7")),
                   "line 1: input_length: found " + bad + ", allowed is a whole number");
    CHECK_CONTAINS(refusal(line("0", "5", bad, "7")),
                   "line 1: output_length: found " + bad + ", allowed is a whole number");
  }
}

TEST_CASE("trace: ids are whole numbers of 64 bits") {
  for (std::string bad : {"-1", "1.5", "18446744073709551616", "1e2"})
    CHECK_CONTAINS(refusal(line("0", "5", "1", bad)), "line 1: hash_ids: found " + bad);
}

TEST_CASE("trace: values of the wrong type are refused by name") {
  CHECK_CONTAINS(refusal(line("\"0\"", "5", "1", "7")), "timestamp: found a string, allowed is a number");
  CHECK_CONTAINS(refusal(line("0", "null", "1", "7")), "input_length: found null, allowed is a number");
  CHECK_CONTAINS(refusal(line("0", "5", "true", "7")), "output_length: found true, allowed is a number");
  CHECK_CONTAINS(refusal(line("0", "5", "[1]", "7")), "output_length: found an array, allowed is a number");
  CHECK_CONTAINS(refusal(line("0", "5", "{}", "7")), "output_length: found an object, allowed is a number");
  CHECK_CONTAINS(refusal(line("0", "5", "1", "\"7\"")), "hash_ids: found a string, allowed is a whole number");
  CHECK_CONTAINS(refusal(line("0", "5", "1", "[7]")), "hash_ids: found an array, allowed is a whole number");
  CHECK_CONTAINS(refusal(line("0", "5", "1", "null")), "hash_ids: found null");
  CHECK_CONTAINS(refusal(R"({"timestamp":0,"input_length":5,"output_length":1,"hash_ids":7})"),
                 "hash_ids: found 7, allowed is an array of whole numbers");
  CHECK_CONTAINS(refusal("[1]\n"), "found an array, allowed is one object a line");
  CHECK_CONTAINS(refusal("17\n"), "found 17, allowed is one object a line");
}

TEST_CASE("trace: what is not JSON is refused with its column") {
  CHECK_CONTAINS(refusal(line("NaN", "5", "1", "7")), "line 1: not JSON at column 15 (");
  CHECK_CONTAINS(refusal(line("Infinity", "5", "1", "7")), "not JSON at column 15");
  CHECK_CONTAINS(refusal(line("01", "5", "1", "7")), "not JSON");
  CHECK_CONTAINS(refusal("{\"timestamp\": 0, \"input_len"), "line 1: not JSON");
  CHECK_CONTAINS(refusal(line("0", "5", "1", "7") + "x"), "line 2: not JSON at column 1");
  CHECK_CONTAINS(refusal(line("0", "5", "1", "7").substr(0, 30) + "\n"), "line 1: not JSON");
  CHECK_CONTAINS(refusal(R"({"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[7]} {})"),
                 "after the object");
  CHECK_CONTAINS(refusal("{\"a\": \"\xff\xfe\"}\n"), "not JSON at column 8");
  CHECK_CONTAINS(refusal("\xef\xbb\xbf" + line("0", "5", "1", "7")), "not JSON at column 1");
  CHECK_CONTAINS(refusal(std::string{"\0\n", 2}), "not JSON at column 1");
}

TEST_CASE("trace: a field that is missing or stands there twice is refused by name") {
  CHECK_CONTAINS(refusal(R"({"timestamp":0,"input_length":5,"hash_ids":[7]})"), "line 1: output_length is missing");
  CHECK_CONTAINS(refusal("{}\n"), "line 1: timestamp is missing");
  CHECK_CONTAINS(refusal(R"({"timestamp":0,"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[7]})"),
                 "line 1: timestamp stands there twice");
  CHECK_CONTAINS(refusal(R"({"timestamp":0,"input_length":5,"output_length":1,"hash_ids":[7],"hash_ids":[7]})"),
                 "hash_ids stands there twice");
}

TEST_CASE("trace: the number of ids is that of 512-token blocks") {
  CHECK(read(line("0", "512", "1", "7")).size() == 1);
  CHECK(read(line("0", "513", "1", "7, 8")).size() == 1);
  CHECK_CONTAINS(refusal(line("0", "513", "1", "7")), "hash_ids: found 1 ids, allowed are 2: one per 512 tokens");
  CHECK_CONTAINS(refusal(line("0", "512", "1", "")), "hash_ids: found 0 ids, allowed are 1");
}

TEST_CASE("trace: a trace may have blocks of another size, where its reader is told") {
  auto first = [](const std::string& text) {
    auto in = std::istringstream{text};
    auto request = trace_request{};
    trace_reader{in, "t.jsonl", 16}.next(request);
    return request;
  };
  CHECK(first(line("0", "33", "1", "7, 8, 9")).blocks == std::vector<uint64_t>{7, 8, 9});
  CHECK_THROWS_WITH_AS(first(line("0", "33", "1", "7")),
                       doctest::Contains("hash_ids: found 1 ids, allowed are 3: one per 16 tokens"), failure);
}

TEST_CASE("trace: lines are sorted by timestamp, equal ones are allowed") {
  auto first = line("5", "5", "1", "7");
  CHECK(read(first + first).size() == 2);
  CHECK_CONTAINS(refusal(first + line("4.5", "5", "1", "7")),
                 "line 2: timestamp: found 4.5 after 5; the lines must be sorted");
}

TEST_CASE("trace: an id stands once in a request and has one parent") {
  CHECK_CONTAINS(refusal(line("0", "1000", "1", "7, 7")), "line 1: hash_ids: found id 7 twice");
  CHECK_CONTAINS(refusal(line("0", "1500", "1", "7, 8, 7")), "found id 7 twice");
  auto first = line("0", "1500", "1", "7, 8, 9");
  CHECK(read(first + line("0", "1500", "1", "7, 8, 10") + line("0", "512", "1", "0")).size() == 3);
  CHECK_CONTAINS(refusal(first + line("0", "1000", "1", "8, 10")),
                 "line 2: hash_ids: id 8 is the first of its request, but on line 1 it follows id 7");
  CHECK_CONTAINS(refusal(first + line("0", "1000", "1", "1, 7")),
                 "line 2: hash_ids: id 7 follows id 1, but on line 1 it is the first of its request");
  CHECK_CONTAINS(refusal(first + line("0", "1000", "1", "7, 9")), "id 9 follows id 7, but on line 1 it follows id 8");
}

TEST_CASE("trace: a file without a request is refused") {
  CHECK_CONTAINS(refusal(""), "t.jsonl: found no request");
  CHECK_CONTAINS(refusal("\n\n"), "t.jsonl: found no request");
}

TEST_CASE("trace: what cannot be opened or read is said by name") {
  auto folder = testing::scratch_dir();
  CHECK_THROWS_WITH_AS(read_trace_file((folder / "none").string()), doctest::Contains("none: cannot be opened"),
                       failure);
  CHECK_THROWS_AS(read_trace_file(folder.string()), failure);
}

TEST_CASE("trace: a long trace comes through the buffer in one piece, and written lines read back equal") {
  auto requests = std::vector<trace_request>{};
  auto id = uint64_t{0};
  for (uint32_t i = 0; i < 3000; ++i) {
    auto request = trace_request{uint64_t{i} * 1'234'567, 1 + (i * 7919) % 90'000, 1 + i % 17, {}};
    for (uint64_t b = 0; b < trace_blocks(request.input_tokens); ++b)
      request.blocks.push_back(id++);
    requests.push_back(std::move(request));
  }
  auto out = std::ostringstream{};
  for (const auto& request : requests)
    write_trace_line(out, request);
  CHECK(out.str().size() > 1'000'000);
  CHECK(read(out.str()) == requests);
  auto file = testing::scratch_dir() / "trace.jsonl";
  std::ofstream{file} << out.str();
  CHECK(read_trace_file(file.string()) == requests);
}

TEST_CASE("trace: the public conversation trace is accepted") {
  auto path = testing::shared("data/traces/conversation_trace.jsonl");
  if (!path)
    return testing::skip("../shared/data/traces/conversation_trace.jsonl is not there");
  auto requests = read_trace_file(path->string());
  CHECK(requests.size() == 12'031);
  CHECK(requests.back().arrival_ns == 3'536'999'000'000);
}
