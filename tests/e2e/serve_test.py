# SPDX-License-Identifier: Apache-2.0
"""`perigee serve`: one process, spoken to over HTTP as clients do."""

import json
import signal
import socket
import subprocess

from harness import (SOURCE, case, check, check_equal, in_parallel, main, run, scratch_dir, serve, wait_until)
from models import EXACT, engine_text, goldens, prompt_ids, slow_model

TOKENS = 48
PROMPTS = [prompt["text"] for prompt in goldens()["prompts"] if prompt["text"]]
PROMPTS += [PROMPTS[-1] + " " + PROMPTS[0], PROMPTS[-1] + " " + PROMPTS[1]]  # long, with a common start


def check_texts(api, prompts, what):
    """Whole and streamed, the server says what the engine says."""
    for prompt in prompts:
        expected = engine_text(EXACT, prompt, TOKENS)
        check_equal(api.text(prompt, TOKENS), expected, f"{what}, whole, after {prompt[:40]!r}")
        stream = api.stream(prompt, TOKENS).read_all()
        check_equal(stream.texts.get(0), expected, f"{what}, streamed, after {prompt[:40]!r}")
        check(stream.done and stream.finish == {0: "length"}, f"the stream ends properly: {stream.finish}")


@case
def same_text():
    """serve: the text is the engine's, whole or streamed, with a cold and a warm cache"""
    _, api = serve(EXACT)
    check_texts(api, PROMPTS, "cold")
    check_texts(api, PROMPTS, "warm")
    api.wait_reclaimed()


@case
def any_shape():
    """serve: the text is the same with any number of prefill instances, decode instances and shards"""
    for prefill, decode, shards in [(1, 1, 0), (2, 3, 2), (3, 1, 1), (1, 2, 3)]:
        process, api = serve(EXACT, "--prefill", prefill, "--decode", decode, "--shards", shards)
        what = f"{prefill} prefill, {decode} decode, {shards} shards"
        check_texts(api, PROMPTS[:3], what)
        jobs = [lambda prompt=prompt: api.text(prompt, TOKENS) for prompt in PROMPTS * 2]
        check_equal(in_parallel(jobs), [engine_text(EXACT, prompt, TOKENS) for prompt in PROMPTS * 2], what)
        api.wait_reclaimed()
        process.end()


@case
def sixteen_at_once():
    """serve: sixteen requests at once get the text each would get alone"""
    _, api = serve(EXACT, "--prefill", 2, "--decode", 2, "--shards", 2)
    prompts = (PROMPTS * 16)[:16]
    jobs = [lambda prompt=prompt: api.stream(prompt, TOKENS).read_all().texts[0] for prompt in prompts]
    for what in ("cold", "warm"):
        check_equal(in_parallel(jobs), [engine_text(EXACT, prompt, TOKENS) for prompt in prompts], what)
    api.wait_reclaimed()


@case
def tiny_cache():
    """serve: the text is the same when cache and working pools are so small that blocks are evicted all the time"""
    _, api = serve(EXACT, "--kv-memory", "1MiB", "--shard-memory", "512KiB", "--prefill", 2, "--decode", 2, "--shards", 2)
    prompts = [f"{salt} {prompt}" for salt in ("one", "two", "three", "four") for prompt in PROMPTS]
    expected = [engine_text(EXACT, prompt, TOKENS) for prompt in prompts]
    for _ in range(2):
        for at in range(0, len(prompts), 16):
            jobs = [lambda prompt=prompt: api.text(prompt, TOKENS) for prompt in prompts[at:at + 16]]
            check_equal(in_parallel(jobs), expected[at:at + 16], "with a tiny cache")
    api.wait_reclaimed()
    shards = api.cluster()["shards"]
    needed = sum(len(prompt) // 16 for prompt in prompts)
    check(sum(shard["blocks_total"] for shard in shards) < needed, f"the cache is too large to have evicted anything: {shards}")


@case
def cached_tokens():
    """serve: of a repeated 405-token prompt 400 tokens come from the cache, of a 400-token one 399"""
    _, api = serve(EXACT)
    for count, expected in [(405, 400), (400, 399)]:
        prompt = prompt_ids(count, salt=count)
        check_equal(api.cached_tokens(prompt), 0, f"cached tokens of a new prompt of {count}")
        check_equal(api.cached_tokens(prompt), expected, f"cached tokens of a repeated prompt of {count}")
    stream = api.stream(prompt_ids(405, salt=405), 4).read_all()
    check_equal(stream.usage["prompt_tokens_details"]["cached_tokens"], 400, "cached tokens in a stream's usage")
    check_equal(stream.usage["prompt_tokens"], 405, "prompt tokens in a stream's usage")


@case
def next_turn():
    """serve: generated text is found in the cache when it comes back as part of a prompt"""
    _, api = serve(EXACT)
    prompt = prompt_ids(100, salt=3)
    code, out, _ = run("complete", "--model", EXACT, "--prompt", PROMPTS[1], "--greedy", "--ignore-eos", "--max-tokens", 100, "--json")
    check_equal(code, 0, "exit code")
    answer = json.loads(out)
    api.complete(answer["prompt_tokens"], 100)
    turn = answer["prompt_tokens"] + answer["tokens"] + prompt[:10]
    # The last generated token is never fed back, so its KV does not exist.
    blocks = (len(answer["prompt_tokens"]) + 99) // 16
    wait_until(lambda: api.cached_tokens(turn, 1) >= 16 * blocks, 10, f"{blocks} blocks of the first turn cached")


@case
def choices_and_seeds():
    """serve: n choices differ, a seed repeats them, and each is what a request alone with that seed gives"""
    _, api = serve(EXACT, "--decode", 2)
    sampled = {"temperature": 0.9, "n": 3, "seed": 11}
    first, again = (api.complete(PROMPTS[1], 24, **sampled) for _ in range(2))
    texts = [choice["text"] for choice in first["choices"]]
    check_equal([choice["index"] for choice in first["choices"]], [0, 1, 2], "indices")
    check_equal([choice["text"] for choice in again["choices"]], texts, "the same seed again")
    check_equal(len(set(texts)), 3, "different choices")
    check_equal(first["usage"]["completion_tokens"], 72, "tokens of all choices")
    stream = api.stream(PROMPTS[1], 24, **sampled).read_all()
    check_equal([stream.texts[index] for index in range(3)], texts, "the same choices streamed")
    other = api.complete(PROMPTS[1], 24, temperature=0.9, n=3, seed=12)
    check([choice["text"] for choice in other["choices"]] != texts, "another seed gave the same choices")
    greedy = api.complete(PROMPTS[1], TOKENS, n=2)
    check_equal({choice["text"] for choice in greedy["choices"]}, {engine_text(EXACT, PROMPTS[1], TOKENS)}, "greedy choices")
    api.wait_reclaimed()


@case
def stop_strings():
    """serve: a stop string ends the text before it, also where it spans tokens and in a stream"""
    _, api = serve(EXACT)
    text = engine_text(EXACT, PROMPTS[1], TOKENS)
    stop = text[len(text) // 2:len(text) // 2 + 5]
    expected = text[:text.index(stop)]
    answer = api.complete(PROMPTS[1], TOKENS, stop=stop)
    check_equal((answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]), (expected, "stop"), "whole")
    stream = api.stream(PROMPTS[1], TOKENS, stop=["never in there", stop]).read_all()
    check_equal((stream.texts.get(0, ""), stream.finish), (expected, {0: "stop"}), "streamed")
    api.wait_reclaimed()


@case
def chat():
    """serve: a conversation is answered in OpenAI's shape, and the same one again comes from the cache"""
    _, api = serve(EXACT)
    body = {"model": "e2e", "messages": [{"role": "user", "content": "Where does the river come from? " * 4}], "max_tokens": 8,
            "temperature": 0, "ignore_eos": True}
    status, first = api.post("/v1/chat/completions", body)
    check_equal(status, 200, f"status, {first}")
    check_equal(first["object"], "chat.completion", "object")
    check_equal(first["choices"][0]["message"]["role"], "assistant", "role")
    _, again = api.post("/v1/chat/completions", body)
    check_equal(again["choices"][0]["message"], first["choices"][0]["message"], "the same answer")
    check(again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 16, f"nothing cached: {again['usage']}")


@case
def bad_input():
    """serve: bad input gets a 4xx with one sentence in OpenAI's shape, and does no harm"""
    _, api = serve(EXACT)
    good = api.body("The river", 4)
    deep = b'{"model": "e2e", "prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    wrong = [
        (404, {**good, "model": "no-such-model"}), (400, {**good, "prompt": prompt_ids(600)}), (400, b"{"), (400, b"[1, 2]"), (400, deep),
        (400, b'{"model": "e2e", "prompt": "\xff\xfe"}'), (400, {**good, "prompt": 7}), (400, {**good, "temperature": 3.5}),
        (400, {**good, "temperature": "hot"}), (400, {**good, "top_p": 0}), (400, {**good, "n": 0}), (400, {**good, "max_tokens": -1}),
        (400, {**good, "logprobs": 5}), (400, {**good, "no_such_field": 1}), (400, {**good, "prompt": [0, 999_999]}),
        (413, b'{"prompt": "' + b"x" * (9 << 20) + b'"}'),
    ]
    for expected, body in wrong:
        body = body if isinstance(body, bytes) else json.dumps(body)
        status, _, text = api.request("POST", "/v1/completions", body)
        what = f"answer to {body[:80]!r}: {status} {text[:200]}"
        check_equal(status, expected, what)
        message = json.loads(text)["error"]["message"]
        check(message.endswith(".") and "\n" not in message, f"one sentence in the {what}")
    check_equal(api.request("GET", "/nowhere")[0], 404, "status of an unknown path")
    check_equal(api.request("GET", "/v1/completions")[0], 405, "status of a GET")
    check_equal(api.text("The river", 4), engine_text(EXACT, "The river", 4), "afterwards")
    api.wait_reclaimed()


@case
def client_gone():
    """serve: a client that is killed in mid-stream frees all blocks of its request, and others do not notice"""
    _, api = serve(slow_model(), "--prefill", 2, "--decode", 2, "--shards", 2)
    expected = engine_text(slow_model(), "The river came", 100)
    other = api.stream("The river came", 100)
    for salt in range(3):
        stream = api.stream(prompt_ids(120, salt), 380)
        stream.read_events(3)
        stream.close()
    gone = api.stream(prompt_ids(400, salt=9), 100)  # perhaps still in prefill
    gone.close()
    check_equal(other.read_all().texts.get(0), expected, "the other client's text")
    api.wait_reclaimed()
    check_equal(api.cluster()["sessions"]["open"], 0, "open requests")


@case
def drain():
    """serve: Ctrl-C lets the stream in flight end, refuses new requests with 503, and ends with 0"""
    process, api = serve(slow_model())
    expected = engine_text(slow_model(), "The river came", 200)
    stream = api.stream("The river came", 200)
    stream.read_events(2)
    process.send(signal.SIGINT)
    wait_until(lambda: not api.healthy(), 10, "health is refused while draining")
    status, _, text = api.request("POST", "/v1/completions", json.dumps(api.body("x", 4)))
    check_equal(status, 503, f"status of a new request, {text}")
    check_equal(stream.read_all().texts.get(0), expected, "the stream in flight")
    check_equal(process.wait(20), 0, "exit code")


@case
def stopped_twice():
    """serve: a second Ctrl-C stops at once, with 1"""
    process, api = serve(slow_model())
    stream = api.stream("The river came", 400)
    stream.read_events(2)
    process.send(signal.SIGINT)
    wait_until(lambda: not api.healthy(), 10, "draining")
    process.send(signal.SIGINT)
    check_equal(process.wait(5), 1, "exit code")


@case
def operators_view():
    """serve: /metrics, /cluster and perigee status tell of the requests that were served"""
    _, api = serve(EXACT)
    api.complete(prompt_ids(40), 8)
    api.complete(prompt_ids(40), 8)
    check_equal(api.metric("perigee:prompt_tokens_total"), 80, "prompt tokens")
    check_equal(api.metric("perigee:generation_tokens_total"), 16, "generated tokens")
    check_equal(api.metric("perigee:prefix_cache_hits_total"), 32, "cached tokens")
    url = f"http://127.0.0.1:{api.port}"
    code, table, error = run("status", url)
    check_equal((code, error), (0, ""), "perigee status")
    for part in ("prefill-0", "decode-0", "shard-0", "model e2e"):
        check(part in table, f"no {part} in:\n{table}")
    code, text, _ = run("status", url, "--json")
    check_equal((code, json.loads(text)["model"]), (0, "e2e"), "perigee status --json")
    newest = json.loads(text)["decisions"][0]["request"]
    code, text, _ = run("status", url, "--request", newest)
    check_equal((code, json.loads(text)["request"]), (0, newest), "perigee status --request")
    code, _, error = run("status", url, "--request", "cmpl-nothing")
    check_equal(code, 1, "exit code for an unknown request")
    check("cmpl-nothing" in error, f"the request is not named: {error}")


@case
def port_taken():
    """serve: a port that is taken is an error that names it"""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, _, error = run("serve", "--model", EXACT, "--listen", f"127.0.0.1:{port}", seconds=60)
    check(code != 0 and str(port) in error, f"exit code {code}, {error}")


@case
def bad_model():
    """serve: a model directory that is not one is refused by name"""
    folder = scratch_dir()
    (folder / "config.json").write_text("{}")
    code, _, error = run("serve", "--model", folder, seconds=60)
    check(code in (1, 2) and str(folder) in error, f"exit code {code}, {error}")


@case
def ttft_tool():
    """tools/ttft: new, repeated and partly new prompts are timed, with what of them was cached"""
    _, api = serve(EXACT)
    done = subprocess.run([SOURCE / "tools/ttft", f"http://127.0.0.1:{api.port}", "--prompt", "96", "--new", "20", "--rounds", "2",
                           "--vocab", "300", "--json"], capture_output=True, text=True, timeout=120)
    check_equal(done.returncode, 0, f"exit code, with {done.stderr}")
    found = json.loads(done.stdout)
    check_equal({kind: row["cached_tokens"] for kind, row in found.items()}, {"new": 0, "repeated": 95, "end new": 64},
                "cached tokens")
    for kind, row in found.items():
        check(0 < row["fastest_ms"] <= row["ttft_ms"] <= row["slowest_ms"], f"times of {kind}: {row}")
    refused = subprocess.run([SOURCE / "tools/ttft", f"http://127.0.0.1:{api.port}", "--vocab", "300000"], capture_output=True,
                             text=True, timeout=120)
    check(refused.returncode == 1 and "token ids of" in refused.stderr, f"{refused.returncode}, {refused.stderr}")


if __name__ == "__main__":
    main(minutes=10)
