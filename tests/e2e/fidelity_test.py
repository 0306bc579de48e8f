# SPDX-License-Identifier: Apache-2.0
"""`tools/fidelity`: the same traffic through a server and through the simulator. No times are judged here."""

import json
import subprocess
import sys

from harness import PERIGEE, SOURCE, case, check, check_equal, main, scratch_dir

MODEL = SOURCE / "apps/demo/model"
FIGURES = ["tpot_mean", "tpot_p90", "tpot_p99", "ttft_p50", "ttft_p90", "ttft_p99"]


def fidelity(*flags):
    """Exit code, standard output, standard error."""
    done = subprocess.run([sys.executable, SOURCE / "tools/fidelity", "--perigee", PERIGEE, *map(str, flags)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400)
    return done.returncode, done.stdout, done.stderr


@case
def both():
    """fidelity: what is reused is equal for every request, and the table has every figure of both"""
    path = scratch_dir() / "found.json"
    code, out, error = fidelity("--model", MODEL, "--shares", "0.05,0.1", "--minutes", 0.1, "--runs", 1, "--json", path)
    check_equal(code, 0, f"exit code, {error}")
    found = json.loads(path.read_text())
    check_equal([cell["share"] for cell in found["cells"]], [0.05, 0.1], "shares")
    for cell, outcomes in zip(found["cells"], found["outcomes"]):
        live = [it["live"]["cached_tokens"] for it in outcomes]
        check(cell["cached_tokens"] == sum(live) > 0 and len(outcomes) == cell["requests"] > 3, f"reused: {cell}")
        check_equal(list(cell["live"]), FIGURES, "figures")
        check_equal(list(cell["replays"]), ["engine", "probed"], "replays")
        for name, replay in cell["replays"].items():
            check_equal([it[name]["cached_tokens"] for it in outcomes], live, f"cached tokens of each request, {name}")
            check_equal(replay["requests_that_differ"], 0, "requests that differ")
            check(all(cell["live"][field] > 0 and replay["figures"][field] > 0 for field in FIGURES), f"times: {cell}")
    lines = out.splitlines()
    check_equal(len(lines), 1 + 2 * (1 + len(FIGURES)), f"lines of the table:\n{out}")
    for name in ["cached tokens", *(figure.upper().replace("_", " ") for figure in FIGURES)]:
        check_equal(sum(name in line for line in lines), 2, f"rows of {name}:\n{out}")


@case
def mistakes():
    """fidelity: a mistake in a flag is named, and a server that does not start says why"""
    for flags, named in [(["--shares", "0.5,lots"], "--shares"), (["--minutes", "-1"], "--minutes"),
                         (["--model", "no/such/model"], "--model"), (["--perigee", "no/such/program"], "--perigee")]:
        code, out, error = fidelity(*flags)
        check(code == 2 and out == "" and named in error, f"{flags}: {error!r}")
    code, out, error = fidelity("--model", MODEL, "--policy", "nobody", "--minutes", 0.1, "--runs", 1)
    check(code == 1 and out == "" and "nobody" in error and "Traceback" not in error, f"an unknown policy: {error!r}")


if __name__ == "__main__":
    main(minutes=10)
