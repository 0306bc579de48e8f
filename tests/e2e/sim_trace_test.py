# SPDX-License-Identifier: Apache-2.0
"""`perigee sim --analyze` and `--write-trace`, as a user calls them."""

import json

from harness import SOURCE, Skip, case, check, check_equal, main, run, scratch_dir

LINE = '{"timestamp": %d, "input_length": %d, "output_length": 7, "hash_ids": %s}\n'


def written(text):
    path = scratch_dir() / "trace.jsonl"
    path.write_text(text)
    return path


@case
def small_trace():
    """sim: --analyze --json has exactly the documented fields, and their values by hand"""
    trace = written(LINE % (0, 600, "[1, 2]") + LINE % (1500, 1024, "[1, 3]") + LINE % (1500, 600, "[1, 2]"))
    code, out, error = run("sim", "--analyze", "--trace", trace, "--cache-tokens", "1024,1,5000", "--json")
    check_equal((code, error), (0, ""), "exit code and standard error")
    check_equal(json.loads(out), {
        "requests": 3, "span_s": 1.5, "input_tokens": 2224, "output_tokens": 21, "blocks": 6, "unique_blocks": 3,
        "ideal_hit_blocks": 3, "ideal_hit_tokens": 1112,
        "lru": [{"capacity_tokens": 1024, "hit_blocks": 2, "hit_tokens": 1024},
                {"capacity_tokens": 1, "hit_blocks": 0, "hit_tokens": 0},
                {"capacity_tokens": 5000, "hit_blocks": 3, "hit_tokens": 1112}]}, "analysis")
    code, out, _ = run("sim", "--analyze", "--trace", trace, "--cache-tokens", "1024")
    check("3 requests in 1.500 s" in out and "unlimited" in out, f"the table: {out!r}")


@case
def public_trace():
    """sim: --analyze finds the known figures of the public conversation trace"""
    trace = SOURCE.parent / "shared/data/traces/conversation_trace.jsonl"
    if not trace.is_file():
        raise Skip("no ../shared/data/traces/conversation_trace.jsonl")
    _, out, _ = run("sim", "--analyze", "--trace", trace, "--cache-tokens", "3000000", "--json")
    check_equal(json.loads(out), {
        "requests": 12031, "span_s": 3536.999, "input_tokens": 144793823, "output_tokens": 4122048, "blocks": 288500,
        "unique_blocks": 182790, "ideal_hit_blocks": 105710, "ideal_hit_tokens": 54098411,
        "lru": [{"capacity_tokens": 3000000, "hit_blocks": 39258, "hit_tokens": 20087299}]}, "analysis")


@case
def eviction_rules():
    """sim: --analyze --eviction has each rule's hits beside LRU's and the best possible"""
    flags = ["sim", "--analyze", "--draw", "conversation:1", "--requests", 3000, "--cache-tokens", "500000,3000000"]
    plain = json.loads(run(*flags, "--json")[1])
    answer = json.loads(run(*flags, "--eviction", "lfu,length-aware,reuse", "--json")[1])
    check_equal(answer["lru"], plain["lru"], "LRU's hits")
    for i, best in enumerate(answer["best_possible"]):
        for rule in ["lru", "lfu", "length-aware", "reuse"]:
            check_equal(answer[rule][i]["capacity_tokens"], best["capacity_tokens"], f"capacity of {rule}")
            check(0 < answer[rule][i]["hit_blocks"] <= best["hit_blocks"], f"{rule} against the best possible: {answer}")
    check(answer["reuse"][0]["hit_blocks"] > answer["lru"][0]["hit_blocks"], f"reuse finds more than LRU: {answer}")
    code, _, error = run(*flags, "--eviction", "mru")
    check(code == 2 and "--eviction" in error and "length-aware" in error, f"an unknown rule: {error!r}")


@case
def decisions():
    """sim: --decisions has a line for each decision, with its best offers and their terms, and changes nothing"""
    path = scratch_dir() / "decisions.jsonl"
    flags = ["sim", "--draw", "conversation:2", "--requests", 60, "--prefill", 2, "--decode", 2, "--policy", "kvcache-centric",
             "--digest", "--json"]
    plain = json.loads(run(*flags)[1])["rows"][0]
    row = json.loads(run(*flags, "--decisions", path)[1])["rows"][0]
    check_equal(row["digest"], plain["digest"], "digest with and without")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    check_equal([line["request"] for line in lines], list(range(1, 61)), "requests, in their order")
    for line in lines:
        made = line["decision"]
        check_equal(made["verdict"], "place", "verdict")
        check_equal(len(made["best"]), 2, "offers")
        check_equal(made["chosen"], min(made["best"], key=lambda offer: offer["score"]), "the least score wins")
        for offer in made["best"]:
            check_equal(offer["ttft_ns"], offer["queue_ns"] + offer["transfer_ns"] + offer["prefill_ns"], "terms")
        check(line["at_ns"] >= line["query"]["arrived_ns"], f"times: {line}")
    check_equal(run(*flags, "--decisions", "/no/such/folder/file")[0], 1, "a file that cannot be written")


@case
def outcomes():
    """sim: --outcomes has a line for each request; --block-tokens takes a trace with the blocks of a server"""
    path = scratch_dir() / "outcomes.jsonl"
    trace = written(LINE % (0, 40, "[1, 2, 3]") + LINE % (9000, 40, "[1, 2, 4]"))
    flags = ["sim", "--trace", trace, "--prefill", 1, "--decode", 1, "--json"]
    code, out, error = run(*flags, "--block-tokens", 16, "--chunk-tokens", 32, "--max-batch", 4, "--outcomes", path)
    check_equal((code, error), (0, ""), "exit code and standard error")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    check_equal([line["request"] for line in lines], [1, 2], "requests, in their order")
    check_equal([line["cached_tokens"] for line in lines], [0, 32], "cached tokens")
    for line in lines:
        check_equal((line["finished"], line["input_tokens"], line["output_tokens"]), (True, 40, 7), f"in {line}")
        check(0 < line["ttft_ns"] < line["last_token_ns"], f"times of {line}")
        check(0 < line["tbt_ns"] < line["last_token_ns"], f"time between tokens of {line}")
    check_equal(json.loads(out)["rows"][0]["hit_tokens"], 32, "hit tokens of the row")
    code, _, _ = run(*flags, "--block-tokens", 16, "--outcomes", "/no/such/folder/file")
    check_equal(code, 1, "a file that cannot be written")
    for wrong, named in [([*flags, "--block-tokens", 64], "line 1: hash_ids: found 3 ids"),
                         (["sim", "--draw", "short:1", "--block-tokens", 16, "--chunk-tokens", 16], "--block-tokens"),
                         (["sim", "--trace", trace, "--analyze", "--block-tokens", 16], "--block-tokens"),
                         ([*flags, "--block-tokens", 16, "--chunk-tokens", 8], "--chunk-tokens")]:
        code, out, error = run(*wrong)
        check(code == 2 and out == "" and named in error, f"{wrong}: {error!r}")


@case
def plan():
    """plan: searches a frontier, and writes a cluster file that doctor accepts"""
    folder = scratch_dir()
    profile, cluster = folder / "profile.json", folder / "cluster.conf"
    profile.write_text(json.dumps({
        "prefill": {"constant_s": 0.05, "token_s": 1e-4, "token2_s": 0, "reused_token_s": 0},
        "step": {"constant_s": 0.02, "row_s": 1e-4, "context_token_s": 0},
        "kv_bytes_token": 64, "decode_tokens": 200000, "cache_tokens": 200000}))
    flags = ["plan", "--draw", "short:1", "--requests", 150, "--nodes", "2,3", "--profile", profile, "--policy",
             "least-seconds", "--admission", "none,early", "--slo", "ttft=2s,tbt=100ms", "--step", 1.5, "--json"]
    code, out, error = run(*flags, "--model", SOURCE / "apps/demo/model", "--write", cluster)
    check_equal((code, error), (0, ""), "exit code and standard error")
    small, large = json.loads(out)["frontier"]
    check_equal((small["nodes"], large["nodes"]), (2, 3), "numbers of nodes")
    check(large["capacity"] > small["capacity"] > 0, f"more nodes carry more: {out}")
    check(all(point["effective"] >= 0.95 for point in (small, large)), f"what is effective: {out}")
    text = cluster.read_text()
    check_equal(text.count('"prefill"'), large["prefill"], "prefill nodes")
    check_equal(text.count('"decode"'), large["decode"], "decode nodes")
    _, out, _ = run("doctor", cluster, "--json")
    found = {one["about"]: one["result"] for one in json.loads(out)}
    check_equal((found["cluster file"], found["memory"], found["model"]), ("ok", "ok", "ok"), "what doctor says")
    for wrong, named in [(["--nodes", "1"], "--nodes"), (["--policy", "nobody"], "nobody"),
                         (["--slo", "ttft=soon"], "soon"), (["--trace", "no/such/file"], "--trace")]:
        code, out, error = run("plan", "--draw", "short:1", "--requests", 5, *wrong)
        check(code == 2 and out == "" and named in error, f"{wrong}: {error!r}")


@case
def drawn_trace():
    """sim: drawn requests that were written are analyzed like the drawn ones"""
    path = scratch_dir() / "agent.jsonl"
    check_equal(run("sim", "--draw", "agent:4", "--requests", 500, "--write-trace", path), (0, "", ""), "--write-trace")
    check_equal(len(path.read_text().splitlines()), 500, "lines")
    answers = [run("sim", "--analyze", "--json", *source) for source in
               (["--trace", path], ["--draw", "agent:4", "--requests", 500])]
    check_equal(answers[0], answers[1], "analysis of the file and of the drawn requests")


@case
def pages():
    """sim: --html and --timeline show what the row says, and change nothing about the run"""
    folder = scratch_dir()
    common = ["sim", "--draw", "conversation:2", "--requests", 120, "--prefill", 2, "--decode", 2, "--digest", "--json"]
    flags = common + ["--policy", "kvcache-centric"]
    plain = json.loads(run(*flags)[1])["rows"][0]
    code, out, error = run(*flags, "--html", folder / "run.html", "--timeline", folder / "run.json")
    check_equal((code, error), (0, ""), "exit code and standard error")
    row = json.loads(out)["rows"][0]
    check_equal(row["digest"], plain["digest"], "digest with and without reports")
    html = (folder / "run.html").read_text()
    for part in ["kvcache-centric", "prefill-1", "decode-1", "120 requests", "block 0, in 120 requests"]:
        check(part in html, f"{part} is not in the page")
    events = json.loads((folder / "run.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    of = lambda kind: [event for event in slices if event["cat"] == kind]
    check_equal(sum(event["args"]["steps"] for event in of("decode")), row["decode_steps"], "decode steps")
    computed = sum(event["args"]["tokens"] for event in of("prefill"))
    analysis = json.loads(run("sim", "--analyze", "--draw", "conversation:2", "--requests", 120, "--json")[1])
    check_equal(computed + row["hit_tokens"], analysis["input_tokens"], "computed and reused tokens")
    check_equal(sum(event["args"]["tokens"] for event in of("fetch")), row["moved_tokens"], "fetched tokens")
    check_equal({event["args"]["request"] for event in of("prefill")}, set(range(120)), "requests with chunks")
    for track in {event["tid"] for event in slices}:
        mine = sorted((event["ts"], event["ts"] + event["dur"]) for event in slices if event["tid"] == track)
        check(all(a[1] <= b[0] + 0.002 for a, b in zip(mine, mine[1:])), f"slices of track {track} overlap")
    ends = {event["id"]: event["ts"] for event in events if event["ph"] == "f"}
    begins = {event["id"]: event["ts"] for event in events if event["ph"] == "s"}
    check(len(begins) > 100 and all(begins[key] <= ends[key] for key in begins), "arrows go forward")
    check("By speed" not in html, "one speed is no chart over the speed")
    run(*common, "--policy", "all", "--speed", "1,2", "--html", folder / "speeds.html")
    html = (folder / "speeds.html").read_text()
    check("By speed" in html and "least-seconds, 2x" in html, "two speeds give charts over the speed")
    check_equal(run(*flags, "--html", folder / "no/such/run.html")[0], 1, "a page that cannot be written")


@case
def mistakes():
    """sim: a mistake in a trace or a flag is one line that names it, and exit code 2"""
    bad = written(LINE % (0, 600, "[1, 2]") + LINE % (0, 600, "[1]"))
    fine = written(LINE % (0, 600, "[1, 2]"))
    for flags, named in [(["--trace", bad], "line 2: hash_ids: found 1 ids"), (["--trace", "no/such/file"], "no/such/file"),
                         (["--trace", written("")], "found no request"), ([], "--trace"),
                         (["--trace", fine, "--draw", "agent:1"], "--draw"), (["--draw", "chat:1"], "chat:1"),
                         (["--trace", fine, "--cache-tokens", "-5"], "--cache-tokens"),
                         (["--trace", fine, "--cache-tokens", "99999999999999999999"], "--cache-tokens"),
                         (["--trace", fine, "--cache-tokens", "3M"], "--cache-tokens"),
                         (["--trace", fine, "--requests", "-1"], "--requests")]:
        code, out, error = run("sim", "--analyze", *flags)
        check_equal((code, out), (2, ""), f"exit code and output with {flags}")
        check_equal(error.count("\n"), 1, f"lines of {error!r}")
        check(error.startswith("perigee: ") and named in error, f"{named} is not named: {error!r}")
    check_equal(run("sim", "--draw", "short:1", "--requests", 9, "--write-trace", "/dev/full")[0], 1, "a full disk")


if __name__ == "__main__":
    main(minutes=4)
