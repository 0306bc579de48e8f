# SPDX-License-Identifier: Apache-2.0
"""Models and expected texts for the end-to-end tests."""

import array
import functools
import json
import random
import shutil
import struct

from harness import SOURCE, check_equal, run, scratch_dir

# f32, and every answer known exactly: equal tokens are required whatever happens on the way.
EXACT = SOURCE / "tests/data/models/gqa-f32"


def goldens(model=EXACT):
    return json.loads((model / "golden.json").read_text())


@functools.cache
def engine_text(model, prompt, tokens):
    """What the engine alone says."""
    code, out, error = run("complete", "--model", model, "--prompt", prompt, "--greedy", "--ignore-eos", "--max-tokens", tokens)
    check_equal((code, error), (0, ""), "perigee complete")
    return out[:-1]


def prompt_ids(count, salt=0):
    """Ordinary token ids, no two prompts with the same salt-dependent start alike."""
    return [(7 * i + 13 * salt + (i * i) % 31) % 200 + 50 for i in range(count)]


@functools.cache
def slow_model():
    """A random model in f32 with the tokenizer of EXACT, large enough that a stream takes seconds: there is time to kill something."""
    layers, hidden, ffn, heads, context = 8, 512, 1408, 8, 512
    folder = scratch_dir() / "slow"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EXACT / name, folder / name)
    config = json.loads((EXACT / "config.json").read_text())
    config.update(hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
                  head_dim=hidden // heads, max_position_embeddings=context, tie_word_embeddings=True)
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes.update({layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,)})
        shapes.update({layer + f"self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"})
        shapes.update({layer + f"mlp.{name}_proj.weight": (ffn, hidden) for name in ("gate", "up")})
        shapes[layer + "mlp.down_proj.weight"] = (hidden, ffn)
    write_safetensors(folder / "model.safetensors", shapes)
    return folder


def write_safetensors(path, shapes):
    """Norms are ones; matrices are cut from one long random row, at odd offsets, so that it takes no time."""
    draw = random.Random(1)
    row = array.array("f", (draw.gauss(0, 0.05) for _ in range(400_009))).tobytes()
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * functools.reduce(lambda a, b: a * b, shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            begin, end = header[name]["data_offsets"]
            if len(shape) == 1:
                out.write(array.array("f", [1.0]) .tobytes() * shape[0])
                continue
            start = 4 * draw.randrange(400_009)
            turned = row[start:] + row[:start]
            out.write((turned * ((end - begin) // len(row) + 1))[: end - begin])
