#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/demo-golden.json: what a right engine makes of the demo model (format: tests/data/README.md).

usage: make_golden.py [MODEL_DIR [OUT]]
"""
import os
import random
import sys

import encode  # makes tools/goldens importable
import corpus
import golden
import grammar

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
EXACT_COUNT = 6  # paths kept, in the order of the candidates


def candidates():
    """Prompts of every form: short, of several stories, chats. Those that come near a tie are skipped."""
    rng = random.Random(11)
    begin = lambda: " ".join(grammar.story(rng)[0].split()[:rng.randrange(6, 30)])
    row = lambda n: "\n\n".join([grammar.story(rng)[0] for _ in range(n)] + [begin()])
    ask = lambda text: f"{corpus.START}user\n{text}{corpus.END}\n{corpus.START}assistant\n"
    yield "Once upon a time"
    yield ask("Tell me a story about a fox named Tom.")
    yield row(3)
    while True:
        yield begin()
        yield row(6)
        yield ask(f"Please tell me a story about {grammar.story(rng)[1]['hero']}.")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "apps", "demo", "model")
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "tests", "data", "demo-golden.json")
    model, tokenizer, kept = golden.Sequence(folder), golden.Tokenizer(folder), []
    for text in candidates():
        _, gap, _ = golden.greedy(golden.Sequence(folder, share=model), tokenizer.encode(text), golden.STEPS)
        if gap >= golden.EXACT_GAP:
            kept.append(text)
        if len(kept) == EXACT_COUNT:
            break
    cases = ["", " ", "Once upon a time there was a fox.", "  two  spaces ", "\n\nLily's \"red\" ball, isn't it?\n",
             "x_1 = {3.14};", "日本語 déjà 🙂", corpus.START + "user\nHi" + corpus.END + "\n", "<s>a</s>b<|im_end", "▁a▁"]
    value, error = golden.make(folder, "BF16", kept, cases)
    with open(out, "w", encoding="utf-8") as f:
        f.write(golden.to_text(value))
    print(f"prompts of {[len(p['ids']) for p in value['prompts']]} ids, gaps {[p['min_gap'] for p in value['prompts']]}, "
          f"error in BF16 arithmetic {error:.4f}")


if __name__ == "__main__":
    main()
