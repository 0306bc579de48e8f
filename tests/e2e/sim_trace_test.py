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
    flags = ["sim", "--draw", "conversation:2", "--requests", 120, "--prefill", 2, "--decode", 2, "--digest", "--json"]
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
    run(*flags, "--policy", "all", "--speed", "1,2", "--html", folder / "speeds.html")
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
    main(minutes=2)
