# SPDX-License-Identifier: Apache-2.0
"""Reads and writes safetensors: 8 bytes of length, a JSON header, the raw tensors.

In memory every tensor is float32; F16 and BF16 exist in files only.
"""
import json
import os
import struct

import numpy as np


def to_bf16_bits(x):
    """float32 -> uint16, round to nearest even. Finite values only."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16_bits(u):
    return (u.astype(np.uint32) << 16).view(np.float32)


def pack(x, dtype):
    return {"F32": lambda: np.ascontiguousarray(x, np.float32), "F16": lambda: np.ascontiguousarray(x, np.float16),
            "BF16": lambda: to_bf16_bits(x)}[dtype]()


def unpack(raw, dtype):
    return {"F32": lambda: np.frombuffer(raw, "<f4"), "F16": lambda: np.frombuffer(raw, "<f2").astype(np.float32),
            "BF16": lambda: from_bf16_bits(np.frombuffer(raw, "<u2"))}[dtype]()


def write(path, tensors, dtype):
    """tensors: {name: array}, written in the order given."""
    head, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, x in tensors.items():
        raw = pack(x, dtype).tobytes()
        head[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [offset, offset + len(raw)]}
        blobs.append(raw)
        offset += len(raw)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read(path):
    """{name: float32 array}"""
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack_from("<Q", raw)[0]
    head = json.loads(raw[8:8 + size])
    out = {}
    for name, t in head.items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            out[name] = unpack(raw[8 + size + a:8 + size + b], t["dtype"]).reshape(t["shape"])
    return out


def read_model(folder):
    """All tensors of a model: one file, or the shards that the index names."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read(os.path.join(folder, "model.safetensors"))
    with open(index, encoding="utf-8") as f:
        place = json.load(f)["weight_map"]
    shards = {name: read(os.path.join(folder, name)) for name in sorted(set(place.values()))}
    return {tensor: shards[shard][tensor] for tensor, shard in place.items()}


def write_model(folder, tensors, dtype, shards=1):
    """One file, or several with an index; a shard takes tensors until it holds its part of the bytes."""
    if shards == 1:
        write(os.path.join(folder, "model.safetensors"), tensors, dtype)
        return
    total, done, parts = sum(x.size for x in tensors.values()), 0, [{} for _ in range(shards)]
    for name, x in tensors.items():
        parts[done * shards // total][name] = x
        done += x.size
    place = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        write(os.path.join(folder, file), part, dtype)
        place.update({name: file for name in part})
    width = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total * width}, "weight_map": place}, f, indent=1)
        f.write("\n")
