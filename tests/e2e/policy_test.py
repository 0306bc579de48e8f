# SPDX-License-Identifier: Apache-2.0
"""Routing policies from outside: in a plugin, and in a process of their own. The plugin's policy "highest" takes the prefill
instance with the highest number, where least-seconds would take the first idle one."""

import json
import os
import signal

from harness import Process, case, check, check_equal, free_ports, main, run, scratch_dir, serve, wait_until
from models import EXACT, engine_text

PLUGIN = os.environ["PERIGEE_TEST_PLUGIN"]
PROMPT = "The river"


def decided(api):
    """Who decided about a new request; the text must be right either way."""
    answer = api.complete(PROMPT, 4)
    check_equal(answer["choices"][0]["text"], engine_text(EXACT, PROMPT, 4), "text")
    code, out, error = run("status", f"http://127.0.0.1:{api.port}", "--request", answer["id"])
    check_equal((code, error), (0, ""), "perigee status --request")
    record = json.loads(out)
    if record["policy"] != "least-seconds":
        check_equal(record["decision"]["chosen"]["prefill"], "prefill-2", "where the highest instance is")
    return record["policy"]  # on a machine that is busy with something else, 50 ms may pass now and then


def policy_host(port):
    host = Process("policy-host", "--plugin", PLUGIN, "--policy", "highest", "--listen", f"127.0.0.1:{port}")
    host.wait_for_line(rf"perigee: policy highest listens on 127.0.0.1:{port}$", 30)
    return host


def remote_cluster(port):
    return serve(EXACT, "--prefill", 3, "--shards", 0, "--route", "remote", "--remote", f"127.0.0.1:{port}")


@case
def plugin_decides():
    """policy: one from a plugin is listed, decides in a cluster, and its decisions have its name"""
    code, out, error = run("policies", "--plugin", PLUGIN, "--json")
    check_equal((code, error), (0, ""), "perigee policies")
    entry = next(one for one in json.loads(out)["routing"] if one["name"] == "highest")
    check_equal(entry["plugin"], os.path.abspath(PLUGIN), "where it comes from")
    _, api = serve(EXACT, "--prefill", 3, "--shards", 0, "--plugin", PLUGIN, "--route", "highest")
    check_equal(decided(api), "highest", "who decided")


@case
def plugin_in_the_simulator():
    """policy: one from a plugin runs in the simulator, twice to the same digest, and takes its parameters"""
    command = ["sim", "--draw", "short:1", "--requests", 50, "--prefill", 2, "--decode", 1, "--plugin", PLUGIN, "--policy", "highest",
               "--digest", "--json"]
    rows = []
    for params in ("sign=-1", "sign=-1", "sign=1"):
        code, out, error = run(*command, "--route-params", params)
        check_equal((code, error), (0, ""), f"perigee sim with {params}")
        rows += json.loads(out)["rows"]
    check_equal(rows[0]["digest"], rows[1]["digest"], "digest of the second run")
    check(rows[0]["digest"] != rows[2]["digest"], "a parameter changed nothing")
    check_equal([row["requests"] - row["rejected"] for row in rows], [50, 50, 50], "requests that were served")


@case
def plugin_refused():
    """policy: a plugin that cannot be loaded ends every command with exit code 2 and a line that names it"""
    missing = scratch_dir() / "missing.so"
    config = scratch_dir() / "cluster.conf"
    config.write_text(f'perigee {{\n  model = "{EXACT}"\n  policy {{ route = "mine", plugin = "{missing}" }}\n'
                      '  nodes = [ { name = "a", http = 8000, roles = ["gateway", "conductor", "prefill", "decode"] } ]\n}\n')
    for command, where in [(("policies", "--plugin", missing), "--plugin"), (("sim", "--draw", "short:1", "--plugin", missing), "--plugin"),
                           (("policy-host", "--policy", "mine", "--plugin", missing), "--plugin"),
                           (("serve", config), "perigee.policy.plugin"), (("node", config, "--name", "a"), "perigee.policy.plugin")]:
        code, out, error = run(*command)
        check_equal((code, out), (2, ""), f"exit code of {command}")
        check_equal(error, f'perigee: {where}: plugin "{missing}": there is no such file (relative to the working directory)\n', "message")


@case
def remote_killed():
    """policy: one in another process decides; after kill -9 requests go on without it, and once it is back it decides again"""
    (port,) = free_ports(1)
    host = policy_host(port)
    process, api = remote_cluster(port)
    process.wait_for_line(f"policy highest at 127.0.0.1:{port} decides", 30)
    wait_until(lambda: decided(api) == "remote", 30, "with the policy host")
    os.kill(host.popen.pid, signal.SIGKILL)
    check_equal(decided(api), "least-seconds", "right after kill -9")
    process.wait_for_line(f"policy at 127.0.0.1:{port} is gone", 30)
    check_equal(decided(api), "least-seconds", "without a policy host")
    policy_host(port)
    process.wait_for_line(f"policy highest at 127.0.0.1:{port} decides", 30, count=2)
    wait_until(lambda: decided(api) == "remote", 30, "with a new policy host, which was told of the instances")


@case
def remote_silent():
    """policy: one in another process that hangs is passed over after 50 ms, and decides again when it goes on"""
    (port,) = free_ports(1)
    host = policy_host(port)
    process, api = remote_cluster(port)
    process.wait_for_line(f"policy highest at 127.0.0.1:{port} decides", 30)
    host.send(signal.SIGSTOP)
    check_equal(decided(api), "least-seconds", "while it hangs")
    host.send(signal.SIGCONT)
    wait_until(lambda: decided(api) == "remote", 30, "it decides again")


@case
def remote_later():
    """policy: a cluster starts without its policy host, and the host ends on Ctrl-C"""
    (port,) = free_ports(1)
    process, api = remote_cluster(port)
    process.wait_for_line(f"the policy is at 127.0.0.1:{port}; least-seconds decides until it is there", 30)
    check_equal(decided(api), "least-seconds", "before there is one")
    host = policy_host(port)
    process.wait_for_line(f"policy highest at 127.0.0.1:{port} decides", 30)
    wait_until(lambda: decided(api) == "remote", 30, "afterwards")
    host.send(signal.SIGINT)
    check_equal(host.wait(30), 0, "exit code of the policy host")


@case
def remote_refused():
    """policy: a remote without a place, or a place without remote, is refused by name"""
    for flags, name in [(("--route", "remote"), "--remote: found \"\""), (("--route", "remote", "--remote", "here"), "--remote: found \"here\""),
                        (("--remote", "127.0.0.1:7100"), "--remote: given, but route is \"perigee\"")]:
        code, out, error = run("serve", "--model", EXACT, *flags)
        check_equal((code, out), (2, ""), f"exit code of serve {flags}")
        check(name in error, f"{name!r} is not in {error!r}")


if __name__ == "__main__":
    main(minutes=5)
