# SPDX-License-Identifier: Apache-2.0
"""The pages that people look at, in a headless browser, where the machine has one: they render, throw nothing, and load
nothing from anywhere else."""

import os
import re
import shutil
import subprocess

from harness import Skip, case, check, check_equal, main, run, scratch_dir, serve
from models import EXACT

# Watches a page from its first line; what it saw becomes the page's title.
WATCH = """<script>var seen=[];addEventListener('error',function(e){seen.push(e.message||'resource');},true);
addEventListener('load',function(){setTimeout(function(){
document.title='loaded '+performance.getEntriesByType('resource').length+' wrong '+seen.length+' '+seen.join(';');},200);});</script>"""


def browse(address, seconds):
    """The page as it is after so many seconds of its own time, and what it wrote to the console."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        raise Skip("there is no chromium")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         f"--user-data-dir={scratch_dir()}", "--enable-logging=stderr", f"--virtual-time-budget={seconds * 1000}",
         "--dump-dom", address], capture_output=True, text=True, timeout=240, env={**os.environ, "HOME": str(scratch_dir())})
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@case
def report():
    """browser: the report of perigee sim renders without an error, and loads nothing"""
    page = scratch_dir() / "page.html"
    code, _, problem = run("sim", "--draw", "conversation:1", "--requests", 60, "--policy", "perigee,random", "--speed", "1,2",
                           "--html", page)
    check_equal((code, problem), (0, ""), "perigee sim")
    page.write_text(page.read_text().replace("<head>", "<head>" + WATCH, 1))
    shown, console = browse(page.as_uri(), 3)
    check_equal(console, [], "console")
    check_equal(re.search("<title>(.*?)</title>", shown).group(1).strip(), "loaded 0 wrong 0", "what the page did")
    check_equal(len(re.findall('<svg class="chart"', shown)), 14, "charts: four by speed, six of all runs, one of each run")
    check("NaN" not in shown and "Infinity" not in shown, "every place on the page is a number")


@case
def dashboard():
    """browser: the dashboard shows instances, cache and the latest decisions, and writes nothing to the console"""
    _, api = serve(EXACT, "--prefill", 2, "--decode", 1, "--shards", 2)
    for prompt in ("Once upon a time", "Once upon a time there was"):
        api.text(prompt, 16)
    shown, console = browse(f"http://127.0.0.1:{api.port}/", 7)
    check_equal(console, [], "console")
    for name in ("prefill-0", "prefill-1", "decode-0", "shard-0", "shard-1"):
        check(f"<td>{name}</td>" in shown, f"a row of {name}")
    check_equal(len(re.findall('<tr class="pick">', shown)), 2, "decisions")
    check_equal(len(re.findall('class="card tile"', shown)), 6, "tiles")
    check('<p id="trouble" role="status"></p>' in shown, "no trouble is told")


if __name__ == "__main__":
    main(minutes=8)
