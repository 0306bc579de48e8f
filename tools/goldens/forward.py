#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The forward pass of the Llama family in plain numpy, as an oracle: float32 arithmetic on the stored weights.

usage: forward.py MODEL_DIR PROMPT [COUNT]     prints the greedy continuation

One sequence at a time, keys and values of all positions kept as they were computed. `round_to` additionally rounds
what an engine in that type would round (activations before every product, keys, values, attention weights), which
tells how far such an engine may be from the oracle.
"""
import json
import os
import sys

import numpy as np

import tensor_file
from tokenizer import Tokenizer

F = np.float32
ROUND = {None: lambda x: x,
         "F16": lambda x: x.astype(np.float16).astype(F),
         "BF16": lambda x: tensor_file.from_bf16_bits(tensor_file.to_bf16_bits(x))}


def inverse_frequencies(config, head_dim):
    """RoPE: (radians per position of each pair [head_dim / 2], float64, rounded when the angles are tabulated; factor
    of cosines and sines)"""
    base, pair = float(config.get("rope_theta", 10000.0)), np.arange(0, head_dim, 2) / head_dim
    scaling = config.get("rope_scaling")
    kind = scaling and scaling.get("rope_type", scaling.get("type"))
    if not scaling:
        return base ** -pair, 1.0
    factor, longest = scaling["factor"], config["max_position_embeddings"]
    original = scaling.get("original_max_position_embeddings", longest)
    if kind == "linear":
        return base ** -pair / factor, 1.0
    if kind == "dynamic":
        # The base that NTK-aware scaling has for a sequence of the greatest length, for every sequence.
        stretch = factor * max(longest, original) / original - (factor - 1)
        return (base * stretch ** (head_dim / (head_dim - 2))) ** -pair, 1.0
    inv = base ** -pair
    turns = original * inv / (2 * np.pi)  # of each pair over the original context
    if kind == "llama3":
        # Short waves stay, long ones are stretched by the factor, those between are blended by their number of turns.
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return inv * (keep + (1 - keep) / factor), 1.0
    if kind == "yarn":
        # The same idea, blended over the index of the pair between those that turn beta_fast and beta_slow times.
        index = lambda beta: head_dim / 2 * np.log(original / (2 * np.pi * beta)) / np.log(base)
        low = max(np.floor(index(scaling.get("beta_fast", 32))), 0)
        high = min(np.ceil(index(scaling.get("beta_slow", 1))), head_dim - 1)
        keep = 1 - np.clip((np.arange(head_dim // 2) - low) / max(high - low, 0.001), 0, 1)
        return inv * (keep + (1 - keep) / factor), scaling.get("attention_factor", 0.1 * np.log(factor) + 1)
    raise ValueError(f"rope_scaling {kind}: known are linear, dynamic, llama3 and yarn")


def attention_window(config, layer):
    """How many tokens a token sees in the layer, itself included; None: all."""
    window, kind = config.get("sliding_window"), config["model_type"]
    if kind == "mistral":
        return window
    if kind.startswith("qwen") and config.get("use_sliding_window") and layer >= config["max_window_layers"]:
        return window
    return None


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Sequence:
    """A model and the keys and values of the tokens it has read."""

    def __init__(self, folder, round_to=None, share=None):
        """share: another Sequence whose weights are used instead of reading them again."""
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            self.config = c = json.load(f)
        self.weights = share.weights if share else tensor_file.read_model(folder)
        self.heads = c["num_attention_heads"]
        self.kv_heads = c.get("num_key_value_heads", self.heads)
        self.head_dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.inv, self.angle_scale = inverse_frequencies(c, self.head_dim)
        self.low = ROUND[round_to]
        self.keys = [np.zeros((0, self.kv_heads, self.head_dim), F) for _ in range(c["num_hidden_layers"])]
        self.values = list(self.keys)

    @property
    def length(self):
        return len(self.keys[0])

    def linear(self, x, name):
        """x [tokens, in] -> [tokens, out]"""
        out = self.low(x) @ self.weights[name].T
        bias = self.weights.get(name.replace(".weight", ".bias"))
        return out if bias is None else out + bias

    def norm(self, x, name):
        mean = np.mean(x * x, axis=-1, keepdims=True, dtype=F)
        return x / np.sqrt(mean + F(self.config["rms_norm_eps"])) * self.weights[name]

    def rotate(self, x, first):
        """RoPE in the half-split form: element i pairs with element i + head_dim / 2. x [tokens, heads, head_dim]"""
        angle = np.outer(np.arange(first, first + len(x)), self.inv)[:, None, :]
        cos, sin = (f(angle) * self.angle_scale for f in (np.cos, np.sin))
        cos, sin = cos.astype(F), sin.astype(F)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, x, layer):
        """x [tokens, hidden], normed; appends to the layer's keys and values. -> [tokens, hidden]"""
        n, p, first = len(x), f"model.layers.{layer}.self_attn.", len(self.keys[layer])
        q = self.linear(x, p + "q_proj.weight").reshape(n, self.heads, self.head_dim)
        k = self.linear(x, p + "k_proj.weight").reshape(n, self.kv_heads, self.head_dim)
        v = self.linear(x, p + "v_proj.weight").reshape(n, self.kv_heads, self.head_dim)
        if p + "q_norm.weight" in self.weights:
            q, k = self.norm(q, p + "q_norm.weight"), self.norm(k, p + "k_norm.weight")
        q, k = self.low(self.rotate(q, first)), self.low(self.rotate(k, first))
        self.keys[layer] = keys = np.concatenate([self.keys[layer], k])
        self.values[layer] = values = np.concatenate([self.values[layer], self.low(v)])
        distance = first + np.arange(n)[:, None] - np.arange(len(keys))[None, :]
        window = attention_window(self.config, layer) or len(keys)
        hidden = (distance < 0) | (distance >= window)
        group = self.heads // self.kv_heads
        out = np.empty((n, self.heads, self.head_dim), F)
        for h in range(self.heads):
            score = q[:, h] @ keys[:, h // group].T * F(self.head_dim ** -0.5)
            weight = softmax(np.where(hidden, F(-np.inf), score))
            out[:, h] = self.low(weight) @ values[:, h // group]
        return self.linear(out.reshape(n, -1), p + "o_proj.weight")

    def feed_forward(self, x, layer):
        p = f"model.layers.{layer}.mlp."
        gate = self.linear(x, p + "gate_proj.weight")
        gate = gate / (F(1) + np.exp(-gate))
        return self.linear(gate * self.linear(x, p + "up_proj.weight"), p + "down_proj.weight")

    def read(self, ids):
        """Reads tokens. -> logits after each, [tokens, vocab]"""
        x = self.weights["model.embed_tokens.weight"][list(ids)]
        for layer in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, p + "input_layernorm.weight"), layer)
            x = x + self.feed_forward(self.norm(x, p + "post_attention_layernorm.weight"), layer)
        x = self.norm(x, "model.norm.weight")
        tied = self.config.get("tie_word_embeddings", False)
        return self.linear(x, "model.embed_tokens.weight" if tied else "lm_head.weight")


def greedy(sequence, ids, count):
    """-> (ids of the path, smallest gap between the two best logits on it, logits of each step [count, vocab])"""
    logits, path, rows = sequence.read(ids)[-1], [], []
    for _ in range(count):
        rows.append(logits)
        path.append(int(np.argmax(logits)))
        logits = sequence.read(path[-1:])[-1]
    best = np.sort(np.array(rows), axis=-1)
    return path, float((best[:, -1] - best[:, -2]).min()), np.array(rows)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.split("\n\n")[1])
    folder, prompt = sys.argv[1:3]
    tokenizer = Tokenizer(folder)
    path, gap, _ = greedy(Sequence(folder), tokenizer.encode(prompt), int(sys.argv[3]) if len(sys.argv) > 3 else 64)
    print(tokenizer.decode(path))
    print(f"smallest gap {gap:.4g}", file=sys.stderr)


if __name__ == "__main__":
    main()
