# SPDX-License-Identifier: Apache-2.0
"""What people outside this tree use: the installation, tests/outside built against it, and tools/new-policy."""

import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

from harness import SOURCE, case, check, check_equal, main, scratch_dir

BUILD = pathlib.Path(os.environ["PERIGEE_BUILD_DIR"])


def call(*command, folder=SOURCE, env=None, code=0):
    """Standard output and standard error of a command that must end with `code`."""
    done = subprocess.run([*map(str, command)], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(env or {})})
    check_equal(done.returncode, code, f"exit code of {command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout, done.stderr


@functools.cache
def installation():
    """A prefix into which perigee was installed, moved once to show that nothing depends on where it lies."""
    staged = scratch_dir()
    call("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", staged)
    (found,) = [path.parent.parent for path in staged.rglob("bin/perigee")]
    prefix = scratch_dir() / "moved"
    shutil.move(found, prefix)
    return prefix


def package_env():
    (folder,) = [path.parent for path in installation().rglob("perigee.pc")]
    return {"PKG_CONFIG_PATH": str(folder)}


def build_outside(source):
    """Configures, builds and tests a project against the installation; its plugin, and how many of its cases passed."""
    build = scratch_dir() / "build"
    call("meson", "setup", build, source, env=package_env())
    out, _ = call("meson", "test", "-C", build, "-v", env=package_env())
    passed = re.search(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*0 failed", out)
    check(passed and int(passed[2]) > 0, f"no test passed:\n{out}")
    (plugin,) = build.glob("lib*.so")
    return plugin, int(passed[2])


def plugin_works(plugin, name):
    """The installed binary lists the policy and runs it."""
    perigee = installation() / "bin/perigee"
    listed, _ = call(perigee, "policies", "--plugin", plugin, "--json")
    check(name in [one["name"] for one in json.loads(listed)["routing"]], f"{name} is not listed")
    out, _ = call(perigee, "sim", "--draw", "conversation:1", "--requests", 60, "--prefill", 3, "--decode", 2, "--plugin", plugin, "--policy",
                  f"{name},least-seconds", "--json")
    check_equal([row["policy"] for row in json.loads(out)["rows"]], [name, "least-seconds"], "rows of the comparison")


@case
def installs():
    """install: the prefix has binary, library, headers and perigee.pc, which name nothing outside it"""
    flags, _ = call("pkg-config", "--cflags", "--libs", "perigee", env=package_env())
    for flag in shlex.split(flags):
        check(not flag.removeprefix("-I").removeprefix("-L").startswith(str(SOURCE)), f"{flag} points into the source tree")
    headers = installation() / "include/perigee"
    check((headers / "actors/policy/plugin.hpp").exists() and (headers / "caf/caf/config.hpp").exists(), "headers are missing")
    check_equal([str(path) for path in headers.rglob("*.cpp")], [], "sources among the headers")
    check_equal(call(installation() / "bin/perigee", "--version")[0].split()[0], "perigee", "the binary")


@case
def outside_project():
    """outside: a project of its own builds a policy plugin against the installation, tests it, and perigee runs it"""
    plugin, cases = build_outside(SOURCE / "tests/outside")
    check_equal(cases, 3, "cases of tests/outside that passed")
    exported, _ = call("nm", "-D", "--defined-only", plugin)
    check_equal([line.split()[-1] for line in exported.splitlines()], ["perigee_policy_plugin"], "symbols that the plugin exports")
    plugin_works(plugin, "warmest")


@case
def new_plugin():
    """new-policy: with --plugin it writes a project that builds, passes its test and runs"""
    project = scratch_dir() / "project"
    call(SOURCE / "tools/new-policy", "--plugin", project, "my-policy")
    plugin, cases = build_outside(project)
    check_equal(cases, 2, "cases of the new project that passed")
    plugin_works(plugin, "my-policy")
    _, error = call(SOURCE / "tools/new-policy", "--plugin", project, "my-policy", code=2)
    check(f"{project} is there already" in error, error)


@case
def new_in_tree():
    """new-policy: in a tree it adds a policy, its registry entry and a test, which compile and pass"""
    tree = scratch_dir() / "tree"
    for folder in ("actors/policy", "tests/actors/policy", "tools", "tests/outside"):
        shutil.copytree(SOURCE / folder, tree / folder)
    call(tree / "tools/new-policy", "my-policy")
    headers = installation() / "include/perigee"
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-restrict", "-I", tree, "-I", SOURCE, "-isystem", headers / "caf"]
    test = tree / "my_policy_test"
    call("c++", *flags, "-D", f'PERIGEE_SOURCE_DIR="{tree}"', tree / "tests/actors/policy/route_my_policy_test.cpp",
         SOURCE / "tests/support/testing.cpp", SOURCE / "tests/support/doctest_main.cpp", "-o", test)
    check("passed=1 failed=0" in call(test)[0], "the new test did not pass")
    call("c++", *flags, "-fsyntax-only", tree / "actors/policy/registry.cpp")
    check("entry_of<route_my_policy>()" in (tree / "actors/policy/registry.cpp").read_text(), "no entry in the registry")
    check("'route_my_policy_test.cpp'" in (tree / "tests/actors/policy/meson.build").read_text(), "the test is not built")


@case
def new_refused():
    """new-policy: names that are taken or not allowed are refused, and nothing is written"""
    before = sorted(str(path) for path in (SOURCE / "actors/policy").iterdir())
    for name, why in [("My_Policy", "allowed are lower-case letters"), ("-x", "allowed are lower-case"), ("a--b", "allowed are lower-case"),
                      ("", "allowed are lower-case"), ("x" * 41, "at most 40"), ("remote", "another process"),
                      ("least-seconds", "there is a policy \"least-seconds\" already"), ("--help-me", "usage:")]:
        _, error = call(SOURCE / "tools/new-policy", name, code=2)
        check(error.startswith("new-policy: ") and why in error, f"{name!r}: {error}")
    check_equal(sorted(str(path) for path in (SOURCE / "actors/policy").iterdir()), before, "files in actors/policy")


if __name__ == "__main__":
    main(minutes=8)
