// SPDX-License-Identifier: Apache-2.0
#include "kernels/model/regex.hpp"

#include "transport/base/status.hpp"

#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace perigee::kernels {

namespace {

std::string message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

const pcre2_code* as_code(const void* pointer) {
  return static_cast<const pcre2_code*>(pointer);
}

} // namespace

regex::regex(const std::string& pattern) : pattern_(pattern) {
  auto error = 0;
  auto offset = PCRE2_SIZE{0};
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr)
    throw failure(errc::invalid_argument,
                  fmt::format("the pattern \"{}\" is wrong at byte {}: {}", pattern, offset, message(error)));
  // Where the machine has no just-in-time compiler, matching is interpreted: slower, the same result.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  code_ =
    std::shared_ptr<const void>(code, [](const void* p) { pcre2_code_free(const_cast<pcre2_code*>(as_code(p))); });
}

std::vector<std::pair<size_t, size_t>> regex::matches(std::string_view text) const {
  auto result = std::vector<std::pair<size_t, size_t>>{};
  auto data = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>{
    pcre2_match_data_create_from_pattern(as_code(code_.get()), nullptr), &pcre2_match_data_free};
  if (!data)
    throw std::bad_alloc{};
  auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  auto at = size_t{0};
  while (at < text.size()) {
    // NOTEMPTY instead of stepping over empty matches: an empty match splits nothing.
    auto options = uint32_t{PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY};
    auto count = pcre2_match(as_code(code_.get()), subject, text.size(), at, options, data.get(), nullptr);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
      count = pcre2_match(as_code(code_.get()), subject, text.size(), at, options | PCRE2_NO_JIT, data.get(), nullptr);
    if (count == PCRE2_ERROR_NOMATCH)
      break;
    if (count < 0)
      throw failure(errc::invalid_argument,
                    fmt::format("the pattern \"{}\" cannot be matched: {}", pattern_, message(count)));
    auto* range = pcre2_get_ovector_pointer(data.get());
    if (range[1] <= range[0] || range[0] < at) // \K can move the beginning about
      break;
    result.emplace_back(range[0], range[1]);
    at = range[1];
  }
  return result;
}

} // namespace perigee::kernels
