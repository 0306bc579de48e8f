#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The model of `perigee sim` once more, as a plain event loop without actors or messages, to compare with.

Prefill instances serve one request at a time in order of arrival; a fetch overlaps the wait; what is reused is settled when
a prefill starts; flows share ports; decode instances batch continuously. docs/simulation.md has the comparison.

example: tools/sim_reference.py --trace conversation_trace.jsonl --policy prefix-local,kvcache-centric
"""

import argparse
import heapq
import json
import random
import sys
import time
from collections import OrderedDict, deque

BLOCK = 512
KV_BYTES = 327_680
PORT = 87e9
HANDOVER = 80
DECODE_TOKENS = 1_330_000
POLICIES = ["random", "round-robin", "least-requests", "least-seconds", "prefix-local", "kvcache-centric"]


def prefill_seconds(n, p):
    return 0.048 + 1.107e-4 * (n - p) + 7.25e-10 * (n * n - p * p) + 2.94e-6 * p


def reused(blocks, n):
    return min(BLOCK * blocks, n - 1)


def percentile(values, q):
    values = sorted(values)
    return values[max(0, -(-q * len(values) // 100) - 1)] if values else 0


class Request:
    __slots__ = ("arrival", "n", "out", "blocks", "decode", "ttft", "gaps", "last", "made", "hit", "fetching", "number",
                 "predicted")


class Prefill:
    def __init__(self, capacity):
        self.capacity = capacity
        self.cache = OrderedDict()  # oldest first
        self.pending = {}           # blocks that routed requests will compute, with counts
        self.queue = deque()
        self.running = None
        self.free_at = 0.0          # predicted

    def prefix(self, blocks, with_pending):
        count = 0
        for block in blocks:
            if block not in self.cache and not (with_pending and block in self.pending):
                break
            count += 1
        return count

    def insert(self, blocks, holders, index):
        for block in reversed(blocks):
            if block in self.cache:
                self.cache.move_to_end(block)
            else:
                self.cache[block] = True
                holders.setdefault(block, set()).add(index)
        while len(self.cache) > self.capacity:
            block, _ = self.cache.popitem(last=False)
            holders[block].discard(index)


class Flow:
    __slots__ = ("source", "target", "bytes", "left", "rate", "ready", "done")

    def __init__(self):
        self.rate = 0.0


class Simulation:
    def __init__(self, requests, args, policy):
        self.args, self.policy = args, policy
        self.requests = requests
        self.now = 0.0
        self.events, self.numbers = [], 0
        self.random = random.Random(args.seed)
        self.prefills = [Prefill(args.cache_tokens // BLOCK) for _ in range(args.prefill)]
        self.decodes = [dict(rows=[], joining=[], stepping=False, reserved=0, waiting=deque()) for _ in range(args.decode)]
        self.holders = {}
        self.flows, self.flow_time, self.flow_alarm = [], 0.0, 0
        self.moved = 0.0
        self.steps = 0
        self.prefill_time = 0.0
        self.turn = 0

    def at(self, when, what, *args):
        self.numbers += 1
        heapq.heappush(self.events, (when, self.numbers, what, args))

    def run(self):
        for request in self.requests:
            self.at(request.arrival, self.arrive, request)
        while self.events:
            self.now, _, what, args = heapq.heappop(self.events)
            what(*args)

    # -- routing --

    def arrive(self, request):
        n = request.n
        best = 0
        for block in request.blocks:
            if not self.holders.get(block):
                break
            best += 1
        choice = None
        for i, at in enumerate(self.prefills):
            queue = max(0.0, at.free_at - self.now)
            own = at.prefix(request.blocks, True)
            fetch = 0
            seconds = prefill_seconds(n, reused(own, n))
            if self.policy == "random":
                cost = self.random.random()
            elif self.policy == "round-robin":
                cost = (i - self.turn) % len(self.prefills)
            elif self.policy == "least-requests":
                cost = len(at.queue) + (at.running is not None)
            elif self.policy == "least-seconds":
                cost = queue
            elif self.policy == "prefix-local":
                cost = queue + seconds
            else:
                cost = queue + seconds
                if best > 2 * own:
                    fetch = best - own
                    seconds = prefill_seconds(n, reused(best, n))
                    cost = queue + seconds + fetch * BLOCK * KV_BYTES / PORT
            if choice is None or cost < choice[0]:
                choice = (cost, i, fetch, own, seconds)
        self.turn += 1
        _, i, fetch, own, seconds = choice
        at = self.prefills[i]
        at.free_at = max(at.free_at, self.now) + seconds
        for block in request.blocks:
            at.pending[block] = at.pending.get(block, 0) + 1
        request.predicted = seconds
        request.fetching = False
        if fetch:
            request.fetching = True
            source = min(self.holders[request.blocks[own + fetch - 1]])
            self.moved += fetch * BLOCK
            self.send(source, i, fetch * BLOCK * KV_BYTES, 0, self.fetched, request, i, own + fetch)
        request.decode = min(range(len(self.decodes)), key=lambda d: self.decodes[d]["reserved"])
        self.decodes[request.decode]["reserved"] += n + request.out
        at.queue.append(request)
        self.start_prefill(i)

    def fetched(self, request, i, blocks):
        request.fetching = False
        self.prefills[i].insert(request.blocks[:blocks], self.holders, i)
        self.start_prefill(i)

    # -- prefill --

    def start_prefill(self, i):
        at = self.prefills[i]
        if at.running is not None or not at.queue or at.queue[0].fetching:
            return
        request = at.running = at.queue.popleft()
        request.hit = reused(at.prefix(request.blocks, False), request.n)
        seconds = prefill_seconds(request.n, request.hit)
        self.prefill_time += seconds
        self.send(i, self.args.prefill + request.decode, request.n * KV_BYTES, self.now + seconds, self.handed_over, request)
        self.at(self.now + seconds, self.prefilled, i, request)

    def prefilled(self, i, request):
        at = self.prefills[i]
        at.running = None
        at.insert(request.blocks, self.holders, i)
        for block in request.blocks:
            at.pending[block] -= 1
            if not at.pending[block]:
                del at.pending[block]
        at.free_at = self.now + sum(waiting.predicted for waiting in at.queue)
        request.ttft = self.now - request.arrival
        request.last, request.gaps, request.made = self.now, [], 1
        if request.out == 1:
            self.decodes[request.decode]["reserved"] -= request.n + request.out
        self.start_prefill(i)

    # -- flows: every port gives each flow that uses it the same --

    def send(self, source, target, size, ready, then, *args):
        flow = Flow()
        flow.source, flow.target, flow.bytes, flow.left, flow.ready = source, target, size, size, ready
        flow.done = (then, args)
        self.move_on()
        self.flows.append(flow)
        self.share()

    def move_on(self):
        passed = self.now - self.flow_time
        self.flow_time = self.now
        for flow in self.flows:
            flow.left -= flow.rate * passed

    def share(self):
        out, into = {}, {}
        for flow in self.flows:
            out[flow.source] = out.get(flow.source, 0) + 1
            into[flow.target] = into.get(flow.target, 0) + 1
        for flow in self.flows:
            flow.rate = PORT / max(out[flow.source], into[flow.target])
        self.flow_alarm += 1
        if self.flows:
            self.at(self.now + max(0.0, min(f.left / f.rate for f in self.flows)), self.flow_ended, self.flow_alarm)

    def flow_ended(self, alarm):
        if alarm != self.flow_alarm:
            return
        self.move_on()
        for flow in [f for f in self.flows if f.left <= 1]:
            self.flows.remove(flow)
            tail = flow.ready + flow.bytes / (HANDOVER * flow.rate) if flow.ready else 0
            self.at(max(self.now, tail), flow.done[0], *flow.done[1])
        self.share()

    # -- decode --

    def handed_over(self, request):
        if request.out == 1:
            return
        d = self.decodes[request.decode]
        d["waiting"].append(request)
        self.admit(request.decode)

    def admit(self, i):
        d = self.decodes[i]
        held = sum(r.n + r.out for r in d["rows"] + d["joining"])
        while d["waiting"] and held + d["waiting"][0].n + d["waiting"][0].out <= DECODE_TOKENS:
            request = d["waiting"].popleft()
            held += request.n + request.out
            d["joining"].append(request)
        if not d["stepping"]:
            self.step(i)

    def step(self, i):
        d = self.decodes[i]
        d["rows"] += d["joining"]
        d["joining"] = []
        if not d["rows"]:
            return
        d["stepping"] = True
        self.steps += 1
        context = sum(r.n + r.made for r in d["rows"])
        self.at(self.now + 0.0263 + 1e-4 * len(d["rows"]) + 3.43e-8 * context, self.stepped, i)

    def stepped(self, i):
        d = self.decodes[i]
        d["stepping"] = False
        left = []
        for request in d["rows"]:
            request.made += 1
            request.gaps.append(self.now - request.last)
            request.last = self.now
            if request.made < request.out:
                left.append(request)
            else:
                d["reserved"] -= request.n + request.out
        d["rows"] = left
        self.admit(i)
        if not d["stepping"]:
            self.step(i)

    def row(self):
        ttft = [r.ttft for r in self.requests]
        tbt = {}
        for r in self.requests:
            if r.gaps:
                count = -(-len(r.gaps) // 10)
                tbt[r.number] = sum(sorted(r.gaps)[-count:]) / count
        good = [r for r in self.requests
                if r.ttft <= self.args.slo_ttft and tbt.get(r.number, 0) <= self.args.slo_tbt]
        tokens = sum(r.n for r in self.requests)
        return {
            "policy": self.policy, "admission": "none", "prefill": self.args.prefill, "decode": self.args.decode,
            "speed": self.args.speed, "requests": len(self.requests),
            "ttft_mean_s": sum(ttft) / len(ttft),
            **{f"ttft_p{q}_s": percentile(ttft, q) for q in (50, 90, 99)}, "ttft_max_s": max(ttft),
            "tbt_mean_ms": 1e3 * sum(tbt.values()) / max(1, len(tbt)), "tbt_p99_ms": 1e3 * percentile(tbt.values(), 99),
            "hit_tokens": sum(r.hit for r in self.requests), "hit_ratio": sum(r.hit for r in self.requests) / tokens,
            "prefill_mean_s": self.prefill_time / len(self.requests), "moved_tokens": self.moved,
            "effective": len(good) / len(self.requests), "token_goodput": sum(r.n for r in good) / tokens,
            "decode_steps": self.steps,
        }


def read_trace(path, args):
    requests = []
    for line in sys.stdin if path == "-" else open(path):
        if args.requests and len(requests) == args.requests:
            break
        fields = json.loads(line)
        request = Request()
        request.number = len(requests)
        request.arrival = fields["timestamp"] / 1e3 / args.speed
        request.n, request.out, request.blocks = fields["input_length"], fields["output_length"], fields["hash_ids"]
        requests.append(request)
    return requests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--policy", default="least-seconds,kvcache-centric")
    parser.add_argument("--prefill", type=int, default=8)
    parser.add_argument("--decode", type=int, default=8)
    parser.add_argument("--speed", type=float, default=1)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--cache-tokens", type=int, default=3_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slo-ttft", type=float, default=30)
    parser.add_argument("--slo-tbt", type=float, default=0.1)
    args = parser.parse_args()
    rows = []
    for policy in args.policy.split(","):
        if policy not in POLICIES:
            parser.error(f"--policy: found \"{policy}\", allowed {', '.join(POLICIES)}")
        began = time.time()
        simulation = Simulation(read_trace(args.trace, args), args, policy)
        simulation.run()
        rows.append(simulation.row() | {"wall_s": time.time() - began})
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
