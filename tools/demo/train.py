#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model on the CPU and writes it as a Hugging Face directory.

usage: train.py [--out DIR] [--threads N] [--part P]     P < 1 trains on that part of the text only (a smoke run)

Short documents come first, then short and long ones mixed, so that prompts of several stories work too.
"""
import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

import corpus
import encode
from encode import BOS, EOS, bpe_trainer
import tensor_file

HERE = os.path.dirname(os.path.abspath(__file__))
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, CONTEXT, THETA, EPS = 192, 4, 6, 2, 512, 2048, 10000.0, 1e-5
HEAD_DIM = HIDDEN // HEADS
BATCH_TOKENS = 4096
RATE_MAX, WARM_STEPS, CLIP = 3e-3, 60, 1.0
SAVE_STEPS = 250

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
            "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        def linear(a, b, scale=1.0):
            m = torch.nn.Linear(a, b, bias=False)
            torch.nn.init.normal_(m.weight, std=scale / math.sqrt(a))
            return m
        out = 1 / math.sqrt(2 * LAYERS)
        self.input_layernorm = torch.nn.Parameter(torch.ones(HIDDEN))
        self.post_attention_layernorm = torch.nn.Parameter(torch.ones(HIDDEN))
        self.q_proj, self.o_proj = linear(HIDDEN, HIDDEN), linear(HIDDEN, HIDDEN, out)
        self.k_proj, self.v_proj = (linear(HIDDEN, KV_HEADS * HEAD_DIM) for _ in range(2))
        self.gate_proj, self.up_proj = linear(HIDDEN, FFN), linear(HIDDEN, FFN)
        self.down_proj = linear(FFN, HIDDEN, out)

    def forward(self, x, cos, sin):
        """x [rows, tokens, hidden]"""
        b, n, _ = x.shape
        y = F.rms_norm(x, (HIDDEN,), self.input_layernorm, EPS)
        q = rotate(self.q_proj(y).view(b, n, HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(y).view(b, n, KV_HEADS, HEAD_DIM).transpose(1, 2), cos, sin)
        v = self.v_proj(y).view(b, n, KV_HEADS, HEAD_DIM).transpose(1, 2)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(y.transpose(1, 2).reshape(b, n, HIDDEN))
        y = F.rms_norm(x, (HIDDEN,), self.post_attention_layernorm, EPS)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Model(torch.nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.embed_tokens = torch.nn.Parameter(torch.randn(vocab, HIDDEN) / math.sqrt(HIDDEN))
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = torch.nn.Parameter(torch.ones(HIDDEN))
        angle = torch.outer(torch.arange(CONTEXT), THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        self.cos, self.sin = angle.cos(), angle.sin()

    def loss(self, ids, learn):
        """Mean over the learned tokens. ids [rows, tokens], learn the same shape (of the token itself)"""
        n = ids.shape[1] - 1
        x = self.embed_tokens[ids[:, :-1]]
        for layer in self.layers:
            x = layer(x, self.cos[:n], self.sin[:n])
        x, target = x[learn[:, 1:]], ids[:, 1:][learn[:, 1:]]
        return F.cross_entropy(F.rms_norm(x, (HIDDEN,), self.norm, EPS) @ self.embed_tokens.T, target)

    def tensors(self):
        """{Hugging Face name: array}"""
        out = {"model.embed_tokens.weight": self.embed_tokens}
        for i, layer in enumerate(self.layers):
            for name, p in layer.named_parameters():
                base = name.removesuffix(".weight")
                group = {"q": "self_attn.", "k": "self_attn.", "v": "self_attn.", "o": "self_attn.", "gate": "mlp.",
                         "up": "mlp.", "down": "mlp."}.get(base.removesuffix("_proj"), "")
                out[f"model.layers.{i}.{group}{base}.weight"] = p
        out["model.norm.weight"] = self.norm
        return {n: p.detach().numpy() for n, p in out.items()}


def batches(documents, rng):
    """Documents of similar length together, at most BATCH_TOKENS with the padding; padding is not learned."""
    order = sorted(range(len(documents)), key=lambda i: len(documents[i][0]))
    groups, group = [], []
    for i in order:
        if group and (len(group) + 1) * len(documents[i][0]) > BATCH_TOKENS:
            groups.append(group)
            group = []
        group.append(i)
    groups.append(group)
    rng.shuffle(groups)
    for g in groups:
        n = max(len(documents[i][0]) for i in g)
        ids, learn = np.full((len(g), n), EOS), np.zeros((len(g), n), bool)
        for row, i in enumerate(g):
            ids[row, :len(documents[i][0])], learn[row, :len(documents[i][1])] = documents[i]
        yield torch.from_numpy(ids), torch.from_numpy(learn)


def encoded(encoder, documents, rng):
    """[(ids, learn)] with BOS first; chats are seen with and without it, as servers differ."""
    out = []
    for d in documents:
        ids, learn = encoder.document(d)
        if not d[0][0].startswith(corpus.START) or rng.random() < 0.5:
            ids, learn = [BOS] + ids, [False] + learn
        if len(ids) <= corpus.LONG_TOKENS_MAX:
            out.append((ids, learn))
    return out


def train(model, work, log, save):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0}],
                                  betas=(0.9, 0.98), fused=True)
    start, seen, smooth = time.time(), 0, None
    for step, (ids, learn) in enumerate(work):
        rate = RATE_MAX * min((step + 1) / WARM_STEPS, 0.02 + 0.98 * (1 + math.cos(math.pi * step / len(work))) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(ids, learn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 20 == 0 or step + 1 == len(work):
            spent = time.time() - start
            log(f"step {step + 1}/{len(work)}  loss {smooth:.3f}  {seen / 1e6:.2f} M tokens  {seen / spent:.0f}/s  {spent:.0f} s")
        if (step + 1) % SAVE_STEPS == 0 or step + 1 == len(work):
            save()


def write(folder, model, vocab, end):
    """Everything but tokenizer.json. end: the id of the end of a chat turn"""
    file = lambda name: os.path.join(folder, name)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
              "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
              "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": vocab,
              "max_position_embeddings": CONTEXT, "rms_norm_eps": EPS, "rope_theta": THETA, "rope_scaling": None,
              "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
              "bos_token_id": BOS, "eos_token_id": [EOS, end], "torch_dtype": "bfloat16"}
    bpe_trainer.write_json(file("config.json"), config, indent=1)
    bpe_trainer.write_json(file("generation_config.json"),
                           {"bos_token_id": BOS, "eos_token_id": [EOS, end], "do_sample": True, "temperature": 0.7}, indent=1)
    bpe_trainer.write_json(file("tokenizer_config.json"),
                           {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
                            "unk_token": "<unk>", "clean_up_tokenization_spaces": False, "model_max_length": CONTEXT,
                            "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}, indent=1)
    tensor_file.write_model(folder, model.tensors(), "BF16")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=os.path.join(HERE, "..", "..", "apps", "demo", "model"))
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--part", type=float, default=1.0)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(corpus.SEED)
    rng = random.Random(corpus.SEED)
    os.makedirs(a.out, exist_ok=True)
    log = lambda text: print(text, flush=True)

    short, long = corpus.short_documents(), corpus.long_documents()
    spec = encode.train_tokenizer(short[:1500])
    bpe_trainer.write_json(os.path.join(a.out, "tokenizer.json"), spec)
    encoder = encode.Encoder(a.out)
    encoder.check_encoder(short[:20])
    short, long = (encoded(encoder, d[:int(len(d) * a.part)], rng) for d in (short, long))
    vocab = len(spec["model"]["vocab"])
    model = Model(vocab)
    half = len(short) * 2 // 3
    work = list(batches(short[:half], rng))
    mixed = list(batches(short[half:], rng)) + list(batches(long, rng))
    rng.shuffle(mixed)
    work += mixed
    count = lambda d: sum(len(ids) for ids, _ in d) / 1e6
    log(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {vocab}, "
        f"{count(short):.2f} M tokens in short documents, {count(long):.2f} M in long ones, {len(work)} steps")
    train(model, work, log, lambda: write(a.out, model, vocab, encoder.tokenizer.vocab[corpus.END]))


if __name__ == "__main__":
    main()
