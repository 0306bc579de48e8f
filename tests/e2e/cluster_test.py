# SPDX-License-Identifier: Apache-2.0
"""`perigee launch` with the four processes of apps/demo/cluster.conf, some of which are killed."""

import os
import signal
import time

from harness import case, check, check_equal, in_parallel, launch, main, run, wait_until
from models import EXACT, engine_text, goldens, prompt_ids, slow_model

TOKENS = 48
PROMPTS = [prompt["text"] for prompt in goldens()["prompts"] if prompt["text"]]
STORY = "The river came"
LONG = 160


@case
def same_text():
    """launch: four processes serve the engine's text, cold and warm, one request alone or sixteen at once"""
    cluster = launch(EXACT)
    api = cluster.api
    for what in ("cold", "warm"):
        for prompt in PROMPTS:
            check_equal(api.text(prompt, TOKENS), engine_text(EXACT, prompt, TOKENS), f"{what}, after {prompt[:40]!r}")
    prompts = (PROMPTS * 16)[:16]
    jobs = [lambda prompt=prompt: api.stream(prompt, TOKENS).read_all().texts[0] for prompt in prompts]
    check_equal(in_parallel(jobs), [engine_text(EXACT, prompt, TOKENS) for prompt in prompts], "sixteen at once")
    check(api.metric("perigee:kv_transfer_bytes_total", path="fabric") > 0, "no byte went through libfabric")
    api.wait_reclaimed()


@case
def cached_tokens():
    """launch: of a repeated 405-token prompt 400 tokens come from the cache across processes, of a 400-token one 399"""
    api = launch(EXACT).api
    for count, expected in [(405, 400), (400, 399)]:
        prompt = prompt_ids(count, salt=count)
        check_equal(api.cached_tokens(prompt), 0, f"cached tokens of a new prompt of {count}")
        wait_until(lambda: api.cached_tokens(prompt) == expected, 10, f"{expected} cached tokens of {count}")


def kill_in_mid_stream(node):
    """Streams are running when a node dies. Each goes on to the same text, or ends in an error of OpenAI's shape."""
    cluster = launch(slow_model())
    api = cluster.api
    expected = engine_text(slow_model(), STORY, LONG)
    streams = [api.stream(STORY, LONG) for _ in range(3)]
    streams[0].read_events(3)
    os.kill(cluster.pid(node), signal.SIGKILL)
    started = time.monotonic()
    in_parallel([stream.read_all for stream in streams])
    check(time.monotonic() - started < 60, "an end within the deadline")
    if node == "d":
        check(api.cluster()["sessions"]["resubmitted"] > 0, "nothing was resumed: the kill came too late")
    for stream in streams:
        if stream.error is None:
            check_equal(stream.texts.get(0), expected, f"text although node {node} died")
        else:
            check({"message", "type"} <= stream.error.keys(), f"not an OpenAI error: {stream.error}")
            check(expected.startswith(stream.texts.get(0, "")), "text before the error")
    cluster.pid(node, start=2)  # it is back
    wait_until(lambda: all(one["alive"] for one in api.cluster()["instances"]), 30, "all instances are back")
    api.wait_reclaimed()
    check_equal(api.text(STORY, LONG), expected, "the same prompt afterwards")
    api.wait_reclaimed()
    return streams


@case
def kill_prefill():
    """launch: kill -9 of a node with prefill and shard in mid-stream changes no text, and its blocks are reclaimed"""
    for node in ("b", "c"):
        for stream in kill_in_mid_stream(node):
            check(stream.error is None, f"a stream in decode does not need node {node}: {stream.error}")


@case
def kill_decode():
    """launch: kill -9 of the decode node in mid-stream resumes the text once it is back, and its blocks are reclaimed"""
    for stream in kill_in_mid_stream("d"):
        check(stream.error is None, f"there is time to resume: {stream.error}")


@case
def kill_during_prefill():
    """launch: kill -9 of a prefill node that computes prompts places them again, and their text is the same"""
    cluster = launch(slow_model())
    api = cluster.api
    prompts = [f"{word} {STORY} " + "and went on to the sea " * 16 for word in ("First", "Then", "Later", "Last", "Once", "Now")]
    expected = [engine_text(slow_model(), prompt, 16) for prompt in prompts]
    jobs = [lambda prompt=prompt: api.stream(prompt, 16).read_all() for prompt in prompts]

    def kill_when_busy():
        busy = lambda: any(one["node"] == "b" and one["running"] + one["waiting"] > 0 for one in api.cluster()["instances"])
        wait_until(busy, 20, "node b has work")
        os.kill(cluster.pid("b"), signal.SIGKILL)

    *streams, _ = in_parallel([*jobs, kill_when_busy])
    for stream, text in zip(streams, expected):
        check_equal((stream.error, stream.texts.get(0)), (None, text), "a stream that was placed again")
    check(api.cluster()["sessions"]["resubmitted"] > 0, "nothing was placed again: the kill came too late")
    cluster.pid("b", start=2)
    api.wait_reclaimed()


@case
def shared_layers():
    """launch: two prefill processes share the layers of long prompts, which changes no text, cold, warm or many at once"""
    cluster = launch(EXACT, policy='route = "perigee", cpp { min-uncached-tokens = 40, chunk-tokens = 32 }')
    api = cluster.api
    prompts = [f"{word} {STORY} " + "and went on to the sea " * 16 for word in ("First", "Then", "Later", "Last")]
    expected = [engine_text(EXACT, prompt, 16) for prompt in prompts]
    for what in ("cold", "warm"):
        check_equal(api.text(prompts[0], 16), expected[0], what)
    shared = [one for one in api.cluster()["decisions"] if one.get("stages")]
    check_equal(len(shared), 1, "prompts whose layers were shared: the first, of which the second time nearly all was cached")
    check_equal(in_parallel([lambda prompt=prompt: api.text(prompt, 16) for prompt in prompts]), expected, "four at once")
    api.wait_reclaimed()


@case
def client_gone():
    """launch: a client that is killed in mid-stream frees its blocks in every process"""
    api = launch(slow_model()).api
    for salt in range(3):
        stream = api.stream(prompt_ids(150, salt), 300)
        stream.read_events(3)
        stream.close()
    api.wait_reclaimed()


@case
def drain():
    """launch: Ctrl-C lets the stream in flight end, then all nodes, with exit code 0"""
    cluster = launch(slow_model())
    expected = engine_text(slow_model(), STORY, LONG)
    stream = cluster.api.stream(STORY, LONG)
    stream.read_events(2)
    cluster.process.send(signal.SIGINT)
    check_equal(stream.read_all().texts.get(0), expected, "the stream in flight")
    check_equal(cluster.process.wait(30), 0, "exit code")
    for node in "abcd":
        check(f"perigee: node {node} drained" in cluster.process.lines, f"node {node} did not drain:\n{cluster.process.output()}")
    check_equal(cluster.node_pids(), [], "processes that are left")


@case
def no_orphans():
    """launch: kill -9 of the launcher ends every node"""
    cluster = launch(EXACT)
    check_equal(len(cluster.node_pids()), 4, "node processes")
    os.kill(cluster.process.popen.pid, signal.SIGKILL)
    wait_until(lambda: not cluster.node_pids(), 5, "no process is left")


@case
def status_of_four():
    """launch: perigee status names every instance and shard with its node"""
    cluster = launch(EXACT)
    cluster.api.text("The river", 4)
    code, table, _ = run("status", f"http://127.0.0.1:{cluster.api.port}")
    check_equal(code, 0, "exit code")
    for name, node in [("prefill-0", "b"), ("prefill-1", "c"), ("decode-0", "d"), ("shard-0", "b"), ("shard-1", "c"), ("shard-2", "d")]:
        check(any(line.split()[:2] == [name, node] for line in table.splitlines()), f"no {name} on {node} in:\n{table}")


if __name__ == "__main__":
    main(minutes=12)
