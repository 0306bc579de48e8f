#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares forward.py with the public package `transformers` on the golden models (needs torch and transformers).

usage: check_transformers.py [MODELS_DIR]

The weights are widened to float32 on both sides, so the logits must agree to the error of f32 sums. Of dynamic NTK the
package is given the base that perigee fixes for all lengths (the package's own changes with the running length).
"""
import os
import sys

import numpy as np
import torch
import transformers

from forward import Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 1e-3


def config_of(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    scaling = config.rope_parameters
    if scaling.get("rope_type") == "dynamic":
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        stretch = (scaling["factor"] * config.max_position_embeddings / scaling["original_max_position_embeddings"]
                   - scaling["factor"] + 1)
        config.rope_parameters = {"rope_type": "default",
                                  "rope_theta": scaling["rope_theta"] * stretch ** (dim / (dim - 2))}
    return config


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "tests", "data", "models")
    worst = 0.0
    for name in sorted(os.listdir(root)):
        folder = os.path.join(root, name)
        ours = Sequence(folder)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, config=config_of(folder),
                                                                   dtype=torch.float32, attn_implementation="eager")
        ids = np.random.default_rng(1).integers(0, ours.config["vocab_size"], 160)
        with torch.no_grad():
            want = theirs(torch.tensor(ids)[None]).logits[0].numpy()
        error = float(np.abs(ours.read(ids) - want).max())
        worst = max(worst, error)
        print(f"{name}: largest difference {error:.2e}")
    sys.exit(f"more than {TOLERANCE}" if worst > TOLERANCE else 0)


if __name__ == "__main__":
    main()
