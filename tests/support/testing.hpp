// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace perigee::testing {

/// Marks the running test case as skipped, with a reason that `tools/check` lists. The caller returns right after.
void skip(std::string_view reason);

/// The project's source folder.
std::filesystem::path source_dir();

/// A file or folder of the optional reference data beside the checkout (`../shared/NAME`); nothing where it is absent.
std::optional<std::filesystem::path> shared(std::string_view name);

/// A fresh empty folder, removed when the process ends.
std::filesystem::path scratch_dir();

/// How many seeds a randomised test should try: `full`, or fewer in sanitizer builds (PERIGEE_TEST_SEEDS overrides).
uint64_t seeds(uint64_t full);

} // namespace perigee::testing
