#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up what the tests said, for tools/check.

Reads Meson's testlog.json of each run (FOLDER/NAME.json) and the lines that every test program prints:
    TESTS passed=N failed=N skipped=N
    SKIPPED name: reason
    FAILED name
A program that ended badly without saying so (crash, time-out) counts as one failure, and so does FOLDER/NAME.broken.
"""

import argparse
import json
import pathlib
import re
import sys


def read_run(path):
    """The tests of one run: (name, result, output)."""
    for line in path.read_text().splitlines():
        test = json.loads(line)
        yield test["name"], test["result"], (test.get("stdout") or "") + (test.get("stderr") or "")


def add_up(folder):
    passed, failures, skips = 0, [], []
    for path in sorted(folder.glob("*.broken")):
        failures.append(f"{path.stem}: {path.read_text().strip()}")
    for path in sorted(folder.glob("*.json")):
        for name, result, output in read_run(path):
            where = f"{path.stem}: {name}"
            counts = re.findall(r"^TESTS passed=(\d+) failed=(\d+) skipped=(\d+)$", output, re.MULTILINE)
            passed += sum(int(count[0]) for count in counts)
            failed = sum(int(count[1]) for count in counts)
            named = re.findall(r"^FAILED (.+)$", output, re.MULTILINE)
            failures += [f"{where}: {text}" for text in named]
            failures += [f"{where}: a case without a name"] * (failed - len(named))
            skips += [f"{where}: {text}" for text in re.findall(r"^SKIPPED (.+)$", output, re.MULTILINE)]
            if result == "SKIP" and not counts:
                skips.append(f"{where}: the whole program")
            elif result != "OK" and failed == 0:
                failures.append(f"{where}: {result.lower()} (see the log above)")
            elif not counts:
                failures.append(f"{where}: ended without saying what it tested")
    return passed, failures, skips


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="one NAME.json for each run")
    parser.add_argument("--no-skips", action="store_true", help="fail if a test was skipped")
    options = parser.parse_args()
    passed, failures, skips = add_up(options.folder)
    for text in skips:
        print("skipped  " + text)
    for text in failures:
        print("FAILED   " + text)
    print(f"{passed} passed, {len(failures)} failed, {len(skips)} skipped")
    return 1 if failures or (skips and options.no_skips) or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
