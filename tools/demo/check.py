#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Samples stories from the demo model and checks them against the grammar and the training text.

usage: check.py [--model DIR] [--url URL] [--count N] [--temperature T] [--show N]

The model is run by the numpy oracle, or by a perigee that serves it at URL (for example http://127.0.0.1:8000).
Prompts name a hero and a kind of animal that never stand together in the training text. Four forms: the first words
of a story, its first sentences, the same after several other stories (400 to 1000 tokens), and a chat that asks for a story.
A story is sound if it ends by itself and the parser accepts it; verbatim if the training text contains it, or all
that the model added. Exits 1 unless 95 % are sound and fewer than 5 % verbatim.
"""
import argparse
import collections
import json
import os
import random
import sys
import urllib.request

import numpy as np

import corpus
import encode  # makes tools/goldens importable
import grammar
from forward import Sequence
from tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS_MAX = 300
Prompt = collections.namedtuple("Prompt", "form text begun hero animal")  # begun: the part of the story in the prompt


def opening(rng, sentences):
    """The beginning of a story of a held-out pair: up to the words that name the pair, or whole sentences."""
    text, bound = grammar.story(rng, held=True)
    end = max(text.index(bound[v]) + len(bound[v]) for v in ("hero", "animal"))
    for _ in range(sentences):
        end = text.index(".", end) + 1
    return text[:end], bound


def make_prompt(rng, form):
    begun, bound = opening(rng, {"words": 0, "chat": 0}.get(form, rng.choice([1, 2])))
    if form == "after stories":
        before = [grammar.story(rng)[0] for _ in range(rng.randrange(4, 9))]
        return Prompt(form, rng.choice([" ", "\n", "\n\n"]).join(before + [begun]), begun, bound["hero"], bound["animal"])
    if form == "chat":
        topic = f"a {bound['animal']} named {bound['hero']}"
        return Prompt(form, rng.choice(corpus.REQUESTS[:4]).replace("{topic}", topic), "", bound["hero"], bound["animal"])
    return Prompt(form, begun, begun, bound["hero"], bound["animal"])


class Oracle:
    """Completions by the numpy forward pass."""

    def __init__(self, folder, temperature):
        self.folder, self.temperature = folder, temperature
        self.model, self.tokenizer = Sequence(folder), Tokenizer(folder)
        with open(os.path.join(folder, "generation_config.json"), encoding="utf-8") as f:
            self.ends = json.load(f)["eos_token_id"]

    def complete(self, prompt, seed):
        """-> (what the model adds, whether it ended by itself)"""
        text = prompt.text
        if prompt.form == "chat":
            text = f"{corpus.START}user\n{text}{corpus.END}\n{corpus.START}assistant\n"
        ids = self.tokenizer.encode(text)
        rng, out = np.random.Generator(np.random.PCG64(seed)), []
        sequence = Sequence(self.folder, share=self.model)
        logits = sequence.read(ids)[-1]
        while len(out) < TOKENS_MAX:
            weight = np.exp((logits - logits.max()).astype(np.float64) / self.temperature)
            token = int(rng.choice(len(weight), p=weight / weight.sum()))
            if token in self.ends:
                return self.added(ids, out), True
            out.append(token)
            logits = sequence.read([token])[-1]
        return self.added(ids, out), False

    def added(self, ids, out):
        return self.tokenizer.decode(ids + out)[len(self.tokenizer.decode(ids)):]


class Server:
    """Completions over HTTP."""

    def __init__(self, url, temperature):
        self.url, self.temperature = url.rstrip("/"), temperature
        with urllib.request.urlopen(self.url + "/v1/models", timeout=30) as r:
            self.model = json.load(r)["data"][0]["id"]

    def complete(self, prompt, seed):
        body = {"model": self.model, "max_tokens": TOKENS_MAX, "temperature": self.temperature, "seed": seed}
        if prompt.form == "chat":
            path, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": prompt.text}]
        else:
            path, body["prompt"] = "/v1/completions", prompt.text
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as r:
            choice = json.load(r)["choices"][0]
        text = choice["message"]["content"] if prompt.form == "chat" else choice["text"]
        return text, choice["finish_reason"] == "stop"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", default=os.path.join(HERE, "..", "..", "apps", "demo", "model"))
    ap.add_argument("--url")
    ap.add_argument("--count", type=int, default=200)
    ap.add_argument("--temperature", type=float, default=0.75)
    ap.add_argument("--show", type=int, default=0, help="print that many stories, and all that are not sound")
    a = ap.parse_args()
    engine = Server(a.url, a.temperature) if a.url else Oracle(a.model, a.temperature)
    documents = corpus.short_documents() + corpus.long_documents()
    known = "\n".join(sorted(corpus.stories(documents)))
    asked = {part for d in documents for part, learn in d if not learn}
    rng, forms = random.Random(7), ["words", "sentences", "after stories", "chat"]
    total, sound, verbatim, on_topic, texts = (collections.Counter() for _ in range(5))
    for i in range(a.count):
        p = make_prompt(rng, forms[i % len(forms)])
        if p.begun and p.begun in known or any(p.text in question for question in asked):
            sys.exit(f"the prompt stands in the training text: {p.text}")
        added, ended = engine.complete(p, i)
        text = p.begun + added
        total[p.form] += 1
        ok = ended and grammar.parses(text)
        sound[p.form] += ok
        verbatim[p.form] += text in known or added in known
        on_topic[p.form] += p.hero in text and p.animal in text
        texts[text] += 1
        if i < a.show or a.show and not ok:
            print(f"[{p.form}{'' if ok else ': NOT SOUND'}] {p.begun}|{added}\n")
    for f in forms:
        print(f"{f}: {sound[f]} of {total[f]} sound, {verbatim[f]} verbatim, {on_topic[f]} about the hero that was asked for")
    n = total.total()
    print(f"all: {sound.total()} of {n} sound ({sound.total() / n:.1%}), {verbatim.total()} verbatim, "
          f"{len(texts)} different")
    sys.exit(0 if sound.total() >= 0.95 * n and verbatim.total() < 0.05 * n else 1)


if __name__ == "__main__":
    main()
