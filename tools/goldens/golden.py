# SPDX-License-Identifier: Apache-2.0
"""golden.json of one model folder: see tests/data/README.md for the format."""
import json

import numpy as np

from forward import Sequence, greedy
from tokenizer import Tokenizer

STEPS = 48
F32_TOLERANCE = 1e-3
EXACT_GAP = 4e-3  # more than a thousand times what the order of f32 sums changes


def reduced_error(folder, model, ids, path, rows, dtype):
    """Largest difference of any logit along the path when everything is rounded as an engine in dtype would."""
    low = Sequence(folder, round_to=dtype, share=model)
    got = [low.read(ids)[-1]] + [low.read([t])[-1] for t in path[:-1]]
    return float(np.abs(np.array(got) - rows).max())


def prompt_answer(folder, model, tokenizer, text, dtype):
    """-> (the entry for golden.json, the error of reduced precision on its path)"""
    ids = tokenizer.encode(text)
    path, gap, rows = greedy(Sequence(folder, share=model), ids, STEPS)
    error = 0.0 if dtype == "F32" else reduced_error(folder, model, ids, path, rows, dtype)
    return {"text": text, "ids": ids, "greedy": path, "min_gap": round(gap, 6),
            "first_logits": [float(f"{x:.6f}") for x in rows[0]]}, error


def tokenizer_case(tokenizer, case):
    """case: a text, or a list of ids to decode."""
    if isinstance(case, str):
        ids = tokenizer.encode(case)
        return {"text": case, "ids": ids, "decoded": tokenizer.decode(ids)}
    return {"text": None, "ids": case, "decoded": tokenizer.decode(case)}


def make(folder, dtype, prompts, cases):
    """-> (golden.json as a value, the largest error of reduced precision seen)"""
    model, tokenizer = Sequence(folder), Tokenizer(folder)
    answers = [prompt_answer(folder, model, tokenizer, p, dtype) for p in prompts]
    error = max(e for _, e in answers)
    low = F32_TOLERANCE if dtype == "F32" else max(2e-2, 2 * error)
    return {"weights": dtype, "exact_tokens": dtype == "F32", "logits_tolerance": round(low, 4),
            "logits_tolerance_f32": F32_TOLERANCE, "prompts": [a for a, _ in answers],
            "tokenizer": [tokenizer_case(tokenizer, c) for c in cases]}, error


def to_text(value):
    """JSON with one prompt, and one tokenizer case, a line: diffs stay readable, numbers do not fill the screen."""
    line = lambda v: json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    head = ",\n".join(f'  "{k}": {line(v)}' for k, v in value.items() if not isinstance(v, list))
    lists = ",\n".join(f'  "{k}": [\n    ' + ",\n    ".join(map(line, v)) + "\n  ]"
                       for k, v in value.items() if isinstance(v, list))
    return "{\n" + head + ",\n" + lists + "\n}\n"
