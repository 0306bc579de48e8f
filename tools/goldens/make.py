#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/models: small seeded random models and the answers a right engine gives for them.

usage: make.py [OUT_DIR]

The weights of a tensor depend on (seed, tensor name) alone. Each model takes the first seed whose greedy paths keep
a safe distance from ties and do not repeat a few tokens.
"""
import os
import sys
import zlib

import numpy as np

import bpe_trainer
import golden
import tensor_file

HERE = os.path.dirname(os.path.abspath(__file__))

CORPUS = """The river came down from the hills and went past the mill. There was a boat on the river, and there was a
light in the boat. Who was there? The miller's daughter was there with her lamp, and she'd been there all night.
We can't see the other side of the river, but they're over there and they'll wait. One, two, three, 10, 24 and 1999.
The other day there was rain on the hills, then the river rose and the boat went down past the mill in the night.
Über den Fluss und in die Wälder; le café est déjà fermé. An answer (a short one) is better than none: that's all!"""

CASES = ["", " ", "   ", "The river", " The river", "the  other   side ", "\n", "\n\nThe mill\n", "a\tb\r\n c",
         "It's the miller's; they'LL wait, I'd say.", "10 24 1999 31415926", "x=1;y=[2,3];", "déjà café Über",
         "日本語のテキスト", "🙂👩‍👩‍👧", "e\u0301 \u00e9", "nul\u0000here", "\u00a0\u2003wide\u3000spaces", "don't<<>>",
         "the<0x41>river", "▁the▁river", "ſtreet ΑΒΓ Привет", "....!!!???", "end with space "]

LONG = ("There was a boat on the river and a light in the boat. The miller's daughter came down from the hills with "
        "her lamp, past the mill, and she'd been there all night. Who was on the other side? 24 of them, in the rain.")

PROMPTS = ["", "The river came", "There was a light on the hills", LONG]


def config(hidden, layers, heads, kv_heads, ffn, vocab, dtype, **more):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "vocab_size": vocab, "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "hidden_act": "silu",
            "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "bos_token_id": 1,
            "eos_token_id": 2, "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype], **more}


def family(name):
    return {"architectures": [name + "ForCausalLM"], "model_type": name.lower()}


def shapes(c):
    """{tensor name: shape} in file order"""
    h, ffn, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    head_dim = c.get("head_dim", h // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head_dim, c["num_key_value_heads"] * head_dim
    kind = c["model_type"]
    out = {"model.embed_tokens.weight": (vocab, h)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out.update({p + "input_layernorm.weight": (h,), p + "self_attn.q_proj.weight": (q, h),
                    p + "self_attn.k_proj.weight": (kv, h), p + "self_attn.v_proj.weight": (kv, h),
                    p + "self_attn.o_proj.weight": (h, q), p + "post_attention_layernorm.weight": (h,),
                    p + "mlp.gate_proj.weight": (ffn, h), p + "mlp.up_proj.weight": (ffn, h),
                    p + "mlp.down_proj.weight": (h, ffn)})
        if kind == "qwen2":
            out.update({p + "self_attn.q_proj.bias": (q,), p + "self_attn.k_proj.bias": (kv,),
                        p + "self_attn.v_proj.bias": (kv,)})
        if kind == "qwen3":
            out.update({p + "self_attn.q_norm.weight": (head_dim,), p + "self_attn.k_norm.weight": (head_dim,)})
    out["model.norm.weight"] = (h,)
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (vocab, h)
    return out


def random_tensor(name, shape, seed):
    """Norms around 1. Matrices wide enough that attention is far from uniform and paths do not settle on one token;
    what makes logits is narrow, so that they stay near 1 and reduced precision near 1e-2."""
    normal = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())])).standard_normal(shape)
    if name.endswith(".bias"):
        return (0.5 * normal).astype(np.float32)
    if len(shape) == 1:
        return (1 + 0.1 * normal).astype(np.float32)
    width = {"embed_tokens": 0.5, "lm_head": 0.5, "q_proj": 1.5, "k_proj": 1.5}.get(name.split(".")[-2], 1.2)
    return (normal * width / np.sqrt(shape[1])).astype(np.float32)


CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
          "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA2 = ("{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + "
          "message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}"
          "{% endfor %}")
LLAMA3 = ("{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
          "message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def models():
    """name -> everything that makes the model"""
    lines = CORPUS.replace("\n", " ").split(". ")
    spm = lambda size, extra=(): bpe_trainer.sentencepiece(lines, size, extra)
    chatml = spm(327, [("<|im_start|>", True), ("<|im_end|>", True), ("<tool>", False)])
    plain, wide = spm(340), spm(351)
    byte = bpe_trainer.byte_level(lines, 331, LLAMA3_TOKENS, whole=[" riverboat", "miller"])
    size = lambda t: max(max(t["model"]["vocab"].values()), max(a["id"] for a in t["added_tokens"])) + 1
    return {
        "gqa-f32": dict(dtype="F32", tokenizer=chatml, template=CHATML,
                        config=config(36, 2, 6, 3, 53, size(chatml), "F32", head_dim=10),
                        cases=["<|im_start|>user\nThe river<|im_end|>\n", "<tool> the<tool>boat", "a<s>b</s>c<unk>",
                               "<|im_start|", [1, 3 + 0xE6, 3 + 0x97, 3 + 0xA5, 3 + 0xC3], [3 + 0xFF, 3 + 0x41]]),
        "sharded-f32": dict(dtype="F32", tokenizer=plain, template=LLAMA2, shards=2,
                            config=config(32, 2, 4, 4, 44, size(plain), "F32", tie_word_embeddings=False,
                                          rope_scaling={"type": "linear", "factor": 4.0}),
                            cases=["<s>[INST] The river [/INST]", "</s></s> the"]),
        "bf16-llama3": dict(dtype="BF16", tokenizer=wide, template=None,
                            config=config(64, 2, 4, 1, 88, size(wide), "BF16", head_dim=16, rope_theta=500000.0,
                                          rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                        "high_freq_factor": 4.0,
                                                        "original_max_position_embeddings": 128}),
                            cases=["<s> the"]),
        "f16-bytelevel": dict(dtype="F16", tokenizer=byte, template=LLAMA3,
                              config=config(48, 2, 4, 2, 100, size(byte), "F16", tie_word_embeddings=False,
                                            bos_token_id=size(byte) - 5, eos_token_id=[size(byte) - 4, size(byte) - 1]),
                              cases=["a riverboat, riverboats; miller's miller", "<|eot_id|>x<|begin_of_text|> y",
                                     "<|start_header_id|>user<|end_header_id|>\n\nThe river<|eot_id|>", "<|eot_id",
                                     "\n \n  \n x", "  a   b    c", "HE'S WE'LL we'Re 'tis", [0xE6, 0x97], [0xC3]]),
        "mistral-f32": dict(dtype="F32", tokenizer=plain, template=LLAMA2, cases=[],
                            config=config(32, 2, 4, 2, 44, size(plain), "F32", tie_word_embeddings=False,
                                          sliding_window=24, **family("Mistral"),
                                          rope_scaling={"type": "dynamic", "factor": 2.0,
                                                        "original_max_position_embeddings": 64})),
        "qwen2-bf16": dict(dtype="BF16", tokenizer=byte, template=CHATML, cases=[],
                           config=config(64, 3, 4, 2, 96, size(byte), "BF16", **family("Qwen2"), sliding_window=40,
                                         use_sliding_window=True, max_window_layers=2, bos_token_id=size(byte) - 5,
                                         eos_token_id=size(byte) - 4)),
        "qwen3-f32": dict(dtype="F32", tokenizer=byte, template=CHATML, cases=[],
                          config=config(40, 2, 4, 2, 52, size(byte), "F32", head_dim=16, **family("Qwen3"),
                                        sliding_window=None, bos_token_id=size(byte) - 5, eos_token_id=size(byte) - 4,
                                        rope_scaling={"rope_type": "yarn", "factor": 4.0,
                                                      "original_max_position_embeddings": 128}))}


def tokenizer_config(m):
    tokens = m["tokenizer"]["added_tokens"]
    name = lambda i: next(t["content"] for t in tokens if t["id"] == i)
    eos = m["config"]["eos_token_id"]
    out = {"add_bos_token": True, "add_eos_token": False, "bos_token": name(m["config"]["bos_token_id"]),
           "eos_token": name(eos if isinstance(eos, int) else eos[-1]), "clean_up_tokenization_spaces": False,
           "model_max_length": m["config"]["max_position_embeddings"], "tokenizer_class": "PreTrainedTokenizerFast",
           "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens}}
    return {**out, "chat_template": m["template"]} if m["template"] else out


def write_model(folder, m, seed):
    os.makedirs(folder, exist_ok=True)
    file = lambda name: os.path.join(folder, name)
    c = m["config"]
    bpe_trainer.write_json(file("config.json"), c, indent=1)
    bpe_trainer.write_json(file("generation_config.json"),
                           {k: c[k] for k in ("bos_token_id", "eos_token_id")} | {"do_sample": False}, indent=1)
    bpe_trainer.write_json(file("tokenizer.json"), m["tokenizer"])
    bpe_trainer.write_json(file("tokenizer_config.json"), tokenizer_config(m), indent=1)
    tensors = {n: random_tensor(n, s, seed) for n, s in shapes(c).items()}
    tensor_file.write_model(folder, tensors, m["dtype"], m.get("shards", 1))


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "tests", "data", "models")
    for name, m in models().items():
        folder = os.path.join(out, name)
        for seed in range(1, 1000):
            write_model(folder, m, seed)
            value, error = golden.make(folder, m["dtype"], PROMPTS, CASES + m["cases"])
            gaps = [p["min_gap"] for p in value["prompts"]]
            variety = [len(set(p["greedy"])) for p in value["prompts"]]
            if min(gaps) >= golden.EXACT_GAP and min(variety) >= 8:
                break
        else:
            sys.exit(f"{name}: every seed comes too near a tie, or repeats itself")
        with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as f:
            f.write(golden.to_text(value))
        size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
        print(f"{name}: seed {seed}, {size / 1024:.0f} KiB, prompts of {[len(p['ids']) for p in value['prompts']]} ids, "
              f"distinct ids on paths {variety}, gaps {gaps}, "
              f"error in {m['dtype']} arithmetic {error:.4f}")


if __name__ == "__main__":
    main()
