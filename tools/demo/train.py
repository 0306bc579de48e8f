#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model on the CPU and writes it as a Hugging Face directory.

usage: train.py [--out DIR] [--threads N] [--minutes M] [--start DIR] [--skip S]

Parts of stories come first, then short documents with more parts, then short and long ones mixed, so that prompts of several
stories work too. The schedule is laid over all documents once, or over M minutes if those end earlier.
`--start` goes on from a model that this script wrote instead of from random weights, `--skip` leaves out the first
share S of the documents.
"""
import argparse
import json
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
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, CONTEXT, THETA, EPS = 192, 4, 6, 3, 512, 2048, 10000.0, 1e-5
HEAD_DIM = HIDDEN // HEADS
BATCHES = (1024, 1024, 2048, 2048)  # tokens a step, of openings, plots, short and long documents
RATE_MAX, WARM_STEPS, COOL_SHARE, CLIP = 3e-3, 40, 0.6, 1.0
SAVE_STEPS = 50

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
            "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        def linear(a, b, scale=1.0):
            m = torch.nn.Linear(a, b, bias=False)
            torch.nn.init.normal_(m.weight, std=scale / math.sqrt(a))
            return m
        self.input_layernorm = torch.nn.Parameter(torch.ones(HIDDEN))
        self.post_attention_layernorm = torch.nn.Parameter(torch.ones(HIDDEN))
        self.q_proj, self.o_proj = linear(HIDDEN, HIDDEN), linear(HIDDEN, HIDDEN, 0)
        self.k_proj, self.v_proj = (linear(HIDDEN, KV_HEADS * HEAD_DIM) for _ in range(2))
        self.gate_proj, self.up_proj = linear(HIDDEN, FFN), linear(HIDDEN, FFN)
        self.down_proj = linear(FFN, HIDDEN, 0)

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

    def named_tensors(self):
        """{Hugging Face name: parameter}"""
        out = {"model.embed_tokens.weight": self.embed_tokens}
        for i, layer in enumerate(self.layers):
            for name, p in layer.named_parameters():
                base = name.removesuffix(".weight")
                group = {"q": "self_attn.", "k": "self_attn.", "v": "self_attn.", "o": "self_attn.", "gate": "mlp.",
                         "up": "mlp.", "down": "mlp."}.get(base.removesuffix("_proj"), "")
                out[f"model.layers.{i}.{group}{base}.weight"] = p
        out["model.norm.weight"] = self.norm
        return out

    def load(self, arrays):
        for name, p in self.named_tensors().items():
            p.data.copy_(torch.from_numpy(arrays[name].copy()))


def batches(documents, tokens, rng):
    """Documents of similar length together, at most `tokens` with the padding; padding is not learned."""
    order = sorted(range(len(documents)), key=lambda i: len(documents[i][0]))
    groups, group = [], []
    for i in order:
        if group and (len(group) + 1) * len(documents[i][0]) > tokens:
            groups.append(group)
            group = []
        group.append(i)
    groups.append(group)
    rng.shuffle(groups)
    return [padded([documents[i] for i in g]) for g in groups]


def padded(documents):
    n = max(len(ids) for ids, _ in documents)
    ids, learn = np.full((len(documents), n), EOS), np.zeros((len(documents), n), bool)
    for row, (i, flags) in enumerate(documents):
        ids[row, :len(i)], learn[row, :len(i)] = i, flags
    return torch.from_numpy(ids), torch.from_numpy(learn)


def schedule(openings, plots, short, long, rng):
    """All batches in the order they are learned; what comes when is told by the share of the way gone."""
    half = len(short) // 2
    middle, last = plots + short[:half], short[half:] + long
    rng.shuffle(middle)
    rng.shuffle(last)
    return openings + middle + last


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


def train(model, work, minutes, log, save):
    # Muon gets a small model past the long plateau before it learns to copy names; AdamW alone stays there.
    matrices = [p for p in model.layers.parameters() if p.dim() > 1]
    others = [model.embed_tokens] + [p for p in model.parameters() if p.dim() == 1]
    optimizers = [torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
                  torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0, fused=True)]
    start, seen, smooth, step, gone = time.time(), 0, 0.0, 0, 0.0
    while gone < 1:
        ids, learn = work[int(gone * len(work))]
        cool = min(1, (1 - gone) / COOL_SHARE)
        for o in optimizers:
            o.param_groups[0]["lr"] = RATE_MAX * min((step + 1) / WARM_STEPS, cool)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(ids, learn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for o in optimizers:
            o.step()
        model.zero_grad(set_to_none=True)
        step, seen, spent = step + 1, seen + ids.numel(), time.time() - start
        gone = max(step / len(work), spent / 60 / minutes)
        smooth += (loss.item() - smooth) / min(step, 20)
        if step % 20 == 0 or gone >= 1:
            log(f"step {step} ({gone:.1%})  loss {smooth:.3f}  {seen / 1e6:.2f} M tokens  {seen / spent:.0f}/s  {spent:.0f} s")
        if step % SAVE_STEPS == 0 or gone >= 1:
            save()


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


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
    arrays = {name: p.detach().numpy() for name, p in model.named_tensors().items()}
    tensor_file.write_model(folder, arrays, "BF16")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=os.path.join(HERE, "..", "..", "apps", "demo", "model"))
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--start")
    ap.add_argument("--skip", type=float, default=0.0)
    ap.add_argument("--minutes", type=float, default=math.inf)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(corpus.SEED)
    rng = random.Random(corpus.SEED)
    os.makedirs(a.out, exist_ok=True)
    log = lambda text: print(text, flush=True)

    short = corpus.short_documents()
    spec = read_json(os.path.join(a.start, "tokenizer.json")) if a.start else encode.train_tokenizer(short[:1500])
    bpe_trainer.write_json(os.path.join(a.out, "tokenizer.json"), spec)
    encoder = encode.Encoder(a.out)
    encoder.check_encoder(short[:20])
    texts = [encoded(encoder, d, rng) for d in (corpus.openings(), corpus.plots(), short, corpus.long_documents())]
    work = schedule(*(batches(t, n, rng) for t, n in zip(texts, BATCHES)), rng)
    work = work[int(a.skip * len(work)):]
    vocab = len(spec["model"]["vocab"])
    model = Model(vocab)
    if a.start:
        model.load(tensor_file.read_model(a.start))
    log(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {vocab}, "
        f"{[sum(len(ids) for ids, _ in t) for t in texts]} tokens in openings, plots, short and long documents, {len(work)} steps")
    train(model, work, a.minutes, log, lambda: write(a.out, model, vocab, encoder.tokenizer.vocab[corpus.END]))


if __name__ == "__main__":
    main()
