// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testing.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace perigee::testing {

namespace {

std::set<std::string> skipped; // names of test cases, each once
std::string current;

/// Prints what `tools/check` adds up: one line a skip, one line in all.
class counting_reporter : public doctest::IReporter {
public:
  explicit counting_reporter(const doctest::ContextOptions&) {}

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    auto ran = stats.numTestCasesPassingFilters;
    auto failed = stats.numTestCasesFailed;
    auto left_out = static_cast<unsigned>(skipped.size());
    std::printf("TESTS passed=%u failed=%u skipped=%u\n", ran - failed - left_out, failed, left_out);
  }
  void test_case_start(const doctest::TestCaseData& data) override {
    current = data.m_name;
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    if (stats.failure_flags != 0)
      std::printf("FAILED %s\n", current.c_str());
  }
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("perigee-counts", 1, counting_reporter);

} // namespace

void skip(std::string_view reason) {
  if (skipped.insert(current).second)
    std::printf("SKIPPED %s: %.*s\n", current.c_str(), static_cast<int>(reason.size()), reason.data());
}

std::filesystem::path source_dir() {
  return PERIGEE_SOURCE_DIR;
}

std::optional<std::filesystem::path> shared(std::string_view name) {
  auto path = source_dir().parent_path() / "shared" / name;
  if (std::filesystem::exists(path))
    return path;
  return std::nullopt;
}

std::filesystem::path scratch_dir() {
  struct folders {
    std::set<std::filesystem::path> made;
    ~folders() {
      for (const auto& path : made) {
        auto ignored = std::error_code{};
        std::filesystem::remove_all(path, ignored);
      }
    }
  };
  static auto all = folders{};
  auto pattern = (std::filesystem::temp_directory_path() / "perigee-test-XXXXXX").string();
  auto path = std::filesystem::path{mkdtemp(pattern.data())};
  all.made.insert(path);
  return path;
}

uint64_t seeds(uint64_t full) {
  if (auto* text = std::getenv("PERIGEE_TEST_SEEDS"))
    return std::clamp<uint64_t>(std::strtoull(text, nullptr, 10), 1, full);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return std::max<uint64_t>(1, full / 10);
#else
  return full;
#endif
}

} // namespace perigee::testing
