# SPDX-License-Identifier: Apache-2.0
"""A slow reference tokenizer for `tokenizer.json`: BPE, SentencePiece-style or byte-level.

Written to be compared with, not to be fast: every step is spelled out and merging is quadratic.
Covers what perigee promises: added tokens, the normalizers Prepend and Replace, the pre-tokenizers Split and
ByteLevel, byte fallback, `ignore_merges`, TemplateProcessing, and the decoders that go with them.
Anything else in the file is refused by name.
"""
import json
import os

import regex


def byte_alphabet():
    """The printable character that byte-level vocabularies use for each byte: itself where it is printable
    Latin-1, the next free code point from 256 on otherwise."""
    own = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    out, free = {b: chr(b) for b in own}, 256
    for b in range(256):
        if b not in out:
            out[b] = chr(free)
            free += 1
    return out


BYTE_CHAR = byte_alphabet()
CHAR_BYTE = {c: b for b, c in BYTE_CHAR.items()}


def steps(node, list_key):
    """A processing node of tokenizer.json as a flat list of typed steps."""
    if node is None:
        return []
    return list(node[list_key]) if node["type"] == "Sequence" else [node]


class Tokenizer:
    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            spec = json.load(f)
        model = spec["model"]
        if model.get("type", "BPE") != "BPE":
            raise ValueError(f"model.type {model['type']}: only BPE is known")
        self.vocab = model["vocab"]
        self.rank = {}
        for i, merge in enumerate(model["merges"]):
            a, b = merge.split(" ") if isinstance(merge, str) else merge
            self.rank[a, b] = i
        self.byte_fallback = model.get("byte_fallback", False)
        self.ignore_merges = model.get("ignore_merges", False)
        self.unknown = model.get("unk_token")
        self.piece = {i: p for p, i in self.vocab.items()}
        self.added = {t["content"]: t for t in spec["added_tokens"]}
        self.added_ids = {t["id"]: t for t in spec["added_tokens"]}
        for t in self.added.values():
            if t.get("lstrip") or t.get("rstrip") or t.get("single_word") or t.get("normalized"):
                raise ValueError(f"added token {t['content']}: only plain matching is known")
        self.normalizers = steps(spec.get("normalizer"), "normalizers")
        self.pre_tokenizers = steps(spec.get("pre_tokenizer"), "pretokenizers")
        self.decoders = steps(spec.get("decoder"), "decoders")
        self.prefix, self.suffix = self.template(spec.get("post_processor"))

    @staticmethod
    def template(node):
        """Ids that the post-processor puts before and after one sequence."""
        before, after, seen = [], [], False
        for step in steps(node, "processors"):
            if step["type"] == "ByteLevel":
                continue
            if step["type"] != "TemplateProcessing":
                raise ValueError(f"post_processor {step['type']} is not known")
            for part in step["single"]:
                if "Sequence" in part:
                    seen = True
                else:
                    ids = step["special_tokens"][part["SpecialToken"]["id"]]["ids"]
                    (after if seen else before).extend(ids)
        return before, after

    # ---- encoding

    def split_added(self, text):
        """[(segment, id or None)]: added tokens cut out of the text, leftmost first, the longest at one place."""
        names = sorted(self.added, key=lambda s: (-len(s), s))
        out, start, i = [], 0, 0
        while i < len(text):
            name = next((n for n in names if text.startswith(n, i)), None)
            if name is None:
                i += 1
                continue
            if start < i:
                out.append((text[start:i], None))
            i += len(name)
            out.append((name, self.added[name]["id"]))
            start = i
        if start < len(text):
            out.append((text[start:], None))
        return out

    def normalize(self, text):
        for n in self.normalizers:
            if n["type"] == "Prepend":
                text = n["prepend"] + text if text else text
            elif n["type"] == "Replace":
                text = text.replace(n["pattern"]["String"], n["content"])
            else:
                raise ValueError(f"normalizer {n['type']} is not known")
        return text

    def pre_tokenize(self, text):
        words = [text]
        for p in self.pre_tokenizers:
            if p["type"] == "Split":
                if p["behavior"] != "Isolated" or p.get("invert"):
                    raise ValueError(f"pre_tokenizer Split {p['behavior']} is not known")
                words = [w for word in words for w in isolate(p["pattern"]["Regex"], word)]
            elif p["type"] == "ByteLevel":
                if p.get("add_prefix_space", True) or p.get("use_regex", True):
                    raise ValueError("pre_tokenizer ByteLevel: only without add_prefix_space and use_regex")
                words = ["".join(BYTE_CHAR[b] for b in w.encode()) for w in words]
            else:
                raise ValueError(f"pre_tokenizer {p['type']} is not known")
        return words

    def symbols(self, word):
        """The pieces merging starts from: characters, or byte pieces for characters the vocabulary lacks."""
        out = []
        for c in word:
            if c in self.vocab:
                out.append(c)
            elif self.byte_fallback:
                out += [f"<0x{b:02X}>" for b in c.encode()]
            elif self.unknown is not None:
                out.append(self.unknown)
        return out

    def bpe(self, word):
        if self.ignore_merges and word in self.vocab:
            return [self.vocab[word]]
        sym = self.symbols(word)
        while True:
            pairs = [(self.rank[p], i) for i, p in enumerate(zip(sym, sym[1:])) if p in self.rank]
            if not pairs:
                return [self.vocab[s] for s in sym]
            _, i = min(pairs)
            sym[i:i + 2] = [sym[i] + sym[i + 1]]

    def encode(self, text, template=True):
        ids = list(self.prefix) if template else []
        for segment, added in self.split_added(text):
            if added is not None:
                ids.append(added)
                continue
            for word in self.pre_tokenize(self.normalize(segment)):
                ids += self.bpe(word)
        return ids + (list(self.suffix) if template else [])

    # ---- decoding

    def decode(self, ids, skip_special=True):
        pieces = []
        for i in ids:
            token = self.added_ids.get(i)
            if token is not None and token["special"] and skip_special:
                continue
            pieces.append(token["content"] if token is not None else self.piece[i])
        for d in self.decoders:
            pieces = DECODERS[d["type"]](pieces, d)
        return "".join(pieces)


def isolate(pattern, text):
    """Matches of the pattern, and what lies between them, in order."""
    out, end = [], 0
    for m in regex.finditer(pattern, text):
        if m.start() == m.end():
            continue
        if end < m.start():
            out.append(text[end:m.start()])
        out.append(m.group())
        end = m.end()
    return out + ([text[end:]] if end < len(text) else [])


def decode_replace(pieces, d):
    return [p.replace(d["pattern"]["String"], d["content"]) for p in pieces]


def decode_byte_fallback(pieces, _):
    """A run of byte pieces becomes text if it is valid UTF-8 as a whole, else one U+FFFD for each byte."""
    out, run = [], b""
    for p in pieces + [None]:
        if p is not None and regex.fullmatch(r"<0x[0-9A-F]{2}>", p):
            run += bytes([int(p[3:5], 16)])
            continue
        if run:
            try:
                out.append(run.decode())
            except UnicodeDecodeError:
                out.append("\ufffd" * len(run))
            run = b""
        if p is not None:
            out.append(p)
    return out


def decode_fuse(pieces, _):
    return ["".join(pieces)]


def decode_strip(pieces, d):
    out = []
    for p in pieces:
        head, tail = 0, len(p)
        while head < min(d["start"], len(p)) and p[head] == d["content"]:
            head += 1
        while len(p) - tail < d["stop"] and tail > head and p[tail - 1] == d["content"]:
            tail -= 1
        out.append(p[head:tail])
    return out


def decode_byte_level(pieces, _):
    """Byte-level pieces to text; a piece with a character outside the byte alphabet (an added token) stands for
    itself; every maximal invalid part of the bytes becomes one U+FFFD."""
    raw = b""
    for p in pieces:
        raw += bytes(CHAR_BYTE[c] for c in p) if all(c in CHAR_BYTE for c in p) else p.encode()
    return [raw.decode("utf-8", "replace")]


DECODERS = {"Replace": decode_replace, "ByteFallback": decode_byte_fallback, "Fuse": decode_fuse,
            "Strip": decode_strip, "ByteLevel": decode_byte_level}
