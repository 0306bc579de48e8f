# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: cases with sentences for names, processes that cannot outlive the test, free ports,
and a small HTTP client. Standard library only.

A test is run as `NAME_test.py PERIGEE SOURCE_DIR [CASE...]` and prints what tools/check adds up."""

import atexit
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PERIGEE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 2 else ""
SOURCE = pathlib.Path(os.path.abspath(sys.argv[2])) if len(sys.argv) > 2 else None

_cases = []
_scratch = []


class Skip(Exception):
    """Ends a case that cannot run here; the text says why."""


class PortTaken(Exception):
    """Somebody took a port between our look and the program's bind."""


def case(function):
    """The first line of the function's docstring is the case's name."""
    _cases.append(function)
    return function


def main(minutes):
    """Runs all cases, or those whose name holds an argument; ends hard when the time is up."""

    def too_long(_signal, _frame):
        print(f"the whole test took longer than {minutes} min", flush=True)
        _kill_all()
        os._exit(1)

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(minutes * 60)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # runs the clean-up
    passed = failed = skipped = 0
    for function in _cases:
        name = function.__doc__.splitlines()[0].rstrip(".")
        if sys.argv[3:] and not any(part in name for part in sys.argv[3:]):
            continue
        started = time.monotonic()
        try:
            function()
        except Skip as reason:
            skipped += 1
            print(f"SKIPPED {name}: {reason}", flush=True)
        except Exception:  # a failed case must not hide the others
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {name}", flush=True)
        else:
            passed += 1
            print(f"passed {name} ({time.monotonic() - started:.1f} s)", flush=True)
        finally:
            _kill_all()
    print(f"TESTS passed={passed} failed={failed} skipped={skipped}", flush=True)
    sys.exit(1 if failed else 0)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}:\n  found    {found!r}\n  expected {expected!r}")


def wait_until(condition, seconds, what):
    """The first true answer of `condition`, asked again and again."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def scratch_dir():
    path = pathlib.Path(tempfile.mkdtemp(prefix="perigee-e2e-"))
    _scratch.append(path)
    return path


@atexit.register
def _clean_up():
    _kill_all()
    for path in _scratch:
        shutil.rmtree(path, ignore_errors=True)


# -- processes ---------------------------------------------------------------------------------------------------------

_running = []
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _kill_all():
    for process in list(_running):
        process.end()


class Process:
    """A program in a session of its own; its output is kept. Killed with its whole group at the end of the case."""

    def __init__(self, *arguments, program=None, env=None):
        self.arguments = [program or PERIGEE, *map(str, arguments)]
        self.lines = []
        self.popen = subprocess.Popen(
            self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", cwd=SOURCE, start_new_session=True, preexec_fn=_die_with_parent,
            env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        _running.append(self)

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))

    def output(self):
        return "\n".join(self.lines)

    def alive(self):
        return self.popen.poll() is None

    def send(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds):
        """The exit code."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.output()}") from None
        self.reader.join(2)
        return code

    def wait_for_line(self, pattern, seconds, count=1):
        """The `count`th line that holds the pattern, as a match."""

        def found():
            matches = [match for match in (re.search(pattern, line) for line in list(self.lines)) if match]
            if len(matches) >= count:
                return matches[count - 1]
            if not self.alive():
                self.reader.join(2)
                if "in use" in self.output():
                    raise PortTaken()
                raise AssertionError(f"ended with {self.popen.returncode} before it printed '{pattern}':\n{self.output()}")
            return None

        try:
            return wait_until(found, seconds, f"a line with '{pattern}'")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(10)
        if self in _running:
            _running.remove(self)


def run(*arguments, seconds=120, env=None):
    """Exit code, standard output, standard error of one perigee that ends by itself."""
    done = subprocess.run([PERIGEE, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, cwd=SOURCE, preexec_fn=_die_with_parent, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def free_ports(count):
    """Ports nobody listens on right now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# -- HTTP --------------------------------------------------------------------------------------------------------------


class Stream:
    """A streaming completion: its events as they come."""

    def __init__(self, port, path, body, seconds):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.texts = {}
        self.finish = {}
        self.usage = None
        self.error = None
        self.done = False

    def events(self):
        for line in self.response:
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                self.done = True
                continue
            event = json.loads(line[6:])
            self._take(event)
            yield event

    def _take(self, event):
        if "error" in event:
            self.error = event["error"]
        if event.get("usage"):
            self.usage = event["usage"]
        for choice in event.get("choices", []):
            index = choice["index"]
            self.texts[index] = self.texts.get(index, "") + (choice.get("text") or "")
            if choice.get("finish_reason"):
                self.finish[index] = choice["finish_reason"]

    def read_events(self, count):
        """Reads on for so many events; the stream must not end before."""
        for _ in self.events():
            count -= 1
            if count == 0:
                return
        raise AssertionError("the stream ended early")

    def read_all(self):
        for _ in self.events():
            pass
        return self

    def close(self):
        # At once, with what is unread in the buffers: as a client that was killed.
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.response.close()
        self.connection.close()


class Api:
    """One gateway."""

    def __init__(self, port, model):
        self.port = port
        self.model = model

    def request(self, method, path, body=None, seconds=120):
        """Status, headers, and the body as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def get(self, path):
        status, _, text = self.request("GET", path)
        check_equal(status, 200, f"GET {path}: {text[:300]}")
        return text

    def post(self, path, body):
        status, _, text = self.request("POST", path, json.dumps(body))
        return status, json.loads(text)

    def body(self, prompt, tokens, **more):
        return {"model": self.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}

    def complete(self, prompt, tokens, **more):
        """The whole answer to a greedy completion that does not stop at end tokens (`more` overrides)."""
        status, answer = self.post("/v1/completions", self.body(prompt, tokens, **more))
        check_equal(status, 200, f"status of a completion, {answer}")
        return answer

    def text(self, prompt, tokens, **more):
        return self.complete(prompt, tokens, **more)["choices"][0]["text"]

    def cached_tokens(self, prompt, tokens=4):
        return self.complete(prompt, tokens)["usage"]["prompt_tokens_details"]["cached_tokens"]

    def stream(self, prompt, tokens, seconds=120, **more):
        body = self.body(prompt, tokens, stream=True, stream_options={"include_usage": True}, **more)
        stream = Stream(self.port, "/v1/completions", body, seconds)
        check_equal(stream.status, 200, "status of a stream")
        return stream

    def healthy(self):
        try:
            return self.request("GET", "/health", seconds=5)[0] == 200
        except OSError:
            return False

    def cluster(self):
        return json.loads(self.get("/cluster"))

    def metric(self, name, **labels):
        """Sum of all samples of a metric that have these labels."""
        total, found = 0.0, False
        for line in self.get("/metrics").splitlines():
            match = re.fullmatch(r"([^\s{]+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name and all(f'{key}="{value}"' in (match[2] or "") for key, value in labels.items()):
                total += float(match[3])
                found = True
        check(found, f"no metric {name} {labels}")
        return total

    def busy_blocks(self):
        """What is not as it was before the first request: blocks in use, in transfer or leased. Empty when all is reclaimed.
        The pools of instances hold nothing between requests; shards keep what they cached, without leases."""
        cluster = self.cluster()
        busy = []
        for one in cluster["instances"]:
            if one["alive"] and (one["slots_free"] != one["slots_total"] or one["slots_transfer"] != 0):
                busy.append(f"{one['name']}: {one['slots_free']} of {one['slots_total']} free, {one['slots_transfer']} in transfer")
        for one in cluster["shards"]:
            if one["alive"] and one["leases"] != 0:
                busy.append(f"{one['name']}: {one['leases']} leases")
        return busy

    def wait_reclaimed(self, seconds=30):
        state = []

        def reclaimed():
            state[:] = self.busy_blocks()
            return not state

        try:
            wait_until(reclaimed, seconds, "all blocks reclaimed")
        except AssertionError as error:
            raise AssertionError(f"{error}: {state}") from None


def in_parallel(functions):
    """Their results, in order; the first error is raised."""
    results = [None] * len(functions)
    errors = []

    def call(index):
        try:
            results[index] = functions[index]()
        except Exception as error:  # handed to the caller below
            errors.append(error)

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# -- perigee -----------------------------------------------------------------------------------------------------------


def with_free_ports(start):
    """Calls `start()` again when somebody else was faster at one of its ports."""
    for attempt in range(5):
        try:
            return start()
        except PortTaken:
            if attempt == 4:
                raise


def serve(model, *flags):
    """A `perigee serve` that is healthy, and its API."""

    def start():
        (port,) = free_ports(1)
        process = Process("serve", "--model", model, "--model-name", "e2e", "--listen", f"127.0.0.1:{port}", *flags)
        process.wait_for_line("perigee: serving e2e on ", 60)
        api = Api(port, "e2e")
        wait_until(lambda: api.healthy() or not process.alive(), 60, "healthy")
        check(process.alive(), f"ended early:\n{process.output()}")
        return process, api

    return with_free_ports(start)


class Cluster:
    """The four processes of apps/demo/cluster.conf, on free ports, with a `policy` if one is given, behind `perigee launch`."""

    def __init__(self, model, policy=None):
        self.ports = free_ports(5)
        self.config = scratch_dir() / "cluster.conf"
        text = (SOURCE / "apps/demo/cluster.conf").read_text()
        for found, put in [("apps/demo/model", str(model)), ("perigee-demo", "e2e"), ("600s", "60s"), ("http = 8000", f"http = {self.ports[4]}"),
                           *((f"control = {7001 + i}", f"control = {self.ports[i]}") for i in range(4))]:
            check(found in text, f"apps/demo/cluster.conf has no '{found}'")
            text = text.replace(found, put)
        if policy:
            text = re.sub(r"policy \{.*\}", f"policy {{ {policy} }}", text)
        self.config.write_text(text)
        self.process = Process("launch", self.config)
        self.process.wait_for_line("perigee: cluster ready: ", 90)
        self.api = Api(self.ports[4], "e2e")

    def pid(self, node, start=1):
        """Of a node's `start`th process; waits until that is healthy."""
        return int(self.process.wait_for_line(rf"perigee: node {node} healthy .*pid (\d+)", 60, start)[1])

    def node_pids(self):
        """Of all node processes that run this cluster's file."""
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.config).encode() in (entry / "cmdline").read_bytes():
                    pids.append(int(entry.name))
        return [pid for pid in pids if pid != self.process.popen.pid]


def launch(model, policy=None):
    return with_free_ports(lambda: Cluster(model, policy))
