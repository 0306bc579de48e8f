# SPDX-License-Identifier: Apache-2.0
"""`perigee launch`, `node` and `doctor` around what they start: mistakes, restarts, signals."""

import json
import os
import signal
import socket

from harness import Process, case, check, check_equal, free_ports, main, run, scratch_dir
from models import EXACT


def cluster_file(model, front="127.0.0.1", worker="127.0.0.1"):
    """Two nodes on free ports; the file and the gateway's port."""
    http, first, second = free_ports(3)
    path = scratch_dir() / "two.conf"
    path.write_text(f"""perigee {{
  model = "{model}"
  nodes = [
    {{ name = "front", host = "{front}", control = {first}, http = {http}, roles = ["gateway", "conductor"] }},
    {{ name = "worker", host = "{worker}", control = {second}, roles = ["prefill", "decode", "shard"] }}
  ]
}}
""")
    return path, http


@case
def broken_file():
    """launch: everything that is wrong in a cluster file is reported at once, a line each, before anything starts"""
    path = scratch_dir() / "broken.conf"
    path.write_text("""perigee {
  model = "m"
  blok-tokens = 16
  slo.ttft = 30s
  nodes = [
    { name = "a", control = 7001, roles = ["gateway"] },
    { name = "a", control = 7001, roles = ["prefill", "decode"], kv-memory = "lots" }
  ]
}
""")
    for command in (["launch", path], ["node", path, "--name", "a"], ["serve", path], ["doctor", path]):
        code, out, error = run(*command)
        check_equal((code, out), (2, ""), f"exit code and output of {command}")
        lines = error.splitlines()
        check(all(line.startswith("perigee: perigee.") for line in lines), f"lines without a path: {lines}")
        for part in ("perigee.blok-tokens: unknown key; did you mean \"block-tokens\"?", "perigee.slo.ttft: keys with dots",
                     "perigee.nodes[1].kv-memory: found \"lots\"", "perigee.nodes[0].http: missing", "perigee.nodes[1].name: \"a\" is also",
                     "perigee.nodes[1].control: port 7001"):
            check(any(part in line for line in lines), f"'{part}' is not in {lines}")


@case
def missing_file():
    """launch: a cluster file that is not there is named"""
    code, _, error = run("launch", "no/such.conf")
    check_equal(code, 2, "exit code")
    check("no/such.conf" in error, f"{error!r}")


@case
def refused_configuration():
    """launch: a node that refuses its configuration ends the launch instead of being started for ever"""
    path, _ = cluster_file("no/such/model")
    process = Process("launch", path)
    check_equal(process.wait(30), 2, "exit code")
    check("no/such/model" in process.output(), f"the model is not named:\n{process.output()}")


@case
def restarts():
    """launch: a node that dies is started again, and the others stay"""
    path, _ = cluster_file(EXACT)
    process = Process("launch", path)
    process.wait_for_line("perigee: cluster ready", 60)
    front = process.wait_for_line(r"node front healthy .*pid (\d+)", 1)[1]
    for start in (1, 2):
        pid = int(process.wait_for_line(r"node worker healthy .*pid (\d+)", 60, start)[1])
        os.kill(pid, signal.SIGKILL)
        process.wait_for_line("node worker died .*starting it again in", 5, start)
    process.wait_for_line(r"node worker healthy .*pid (\d+)", 60, 3)
    os.kill(int(front), 0)  # still the same process
    process.send(signal.SIGTERM)
    check_equal(process.wait(30), 0, "exit code")


@case
def second_signal():
    """launch: a second Ctrl-C kills what is left, at once"""
    path, _ = cluster_file(EXACT)
    process = Process("launch", path)
    process.wait_for_line("perigee: cluster ready", 60)
    worker = int(process.wait_for_line(r"node worker healthy .*pid (\d+)", 1)[1])
    os.kill(worker, signal.SIGSTOP)  # it will not drain
    process.send(signal.SIGINT)
    process.wait_for_line("perigee: draining", 5)
    process.send(signal.SIGINT)
    check_equal(process.wait(5), 1, "exit code")
    check(not os.path.exists(f"/proc/{worker}"), "the worker is still there")


@case
def doctor():
    """doctor: a cluster file that would work has no failures, and a port that is taken is one"""
    path, http = cluster_file(EXACT)
    code, out, error = run("doctor", path, "--json")
    check_equal((code, error), (0, ""), f"exit code and standard error, {out}")
    findings = json.loads(out)
    for about in ("cluster file", "processor", "memory", "providers", "model", "node front", "node worker", "transfer", "policies"):
        check(any(one["about"] == about for one in findings), f"nothing about {about} in {findings}")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", http))
        holder.listen()
        code, out, _ = run("doctor", path)
    check_equal(code, 1, "exit code with a taken port")
    check(any(line.startswith("fail") and str(http) in line for line in out.splitlines()), f"port {http} is not named:\n{out}")


@case
def help_everywhere():
    """help: every subcommand explains itself with an example"""
    code, out, _ = run("--help")
    check_equal(code, 0, "exit code")
    for name in ("serve", "node", "launch", "status", "complete", "bench", "doctor"):
        check(name in out, f"{name} is not in perigee --help")
        code, text, error = run(name, "--help")
        check_equal((code, error), (0, ""), f"perigee {name} --help")
        check(f"perigee {name}" in text and "xample" in text, f"no example in perigee {name} --help:\n{text}")
    check_equal(run("--version")[1].split()[0], "perigee", "perigee --version")


if __name__ == "__main__":
    main(minutes=6)
