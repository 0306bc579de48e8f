# SPDX-License-Identifier: Apache-2.0
"""Trains small BPE vocabularies and writes them as `tokenizer.json` in the Hugging Face layout.

Two forms: SentencePiece-style (spaces are U+2581 at the start of a word, characters outside the alphabet fall
back to byte pieces) and byte-level (bytes as printable characters). Deterministic: ties go to the pair that sorts
first.
"""
import collections
import json
import re

from tokenizer import BYTE_CHAR, isolate

SPACE = "\u2581"
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def sentencepiece_words(text):
    """Words that merges may not cross: letters with the space before them, anything else one by one."""
    return re.findall(f"{SPACE}?[A-Za-z']+|{SPACE}|.", (SPACE + text).replace(" ", SPACE), re.S)


def byte_level_words(text):
    return ["".join(BYTE_CHAR[b] for b in w.encode()) for w in isolate(LLAMA3_SPLIT, text)]


def train(words, count):
    """The `count` (or fewer) best merges for a Counter of words, most frequent pair first."""
    split = {w: list(w) for w in words}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for w, n in words.items():
            for p in zip(split[w], split[w][1:]):
                pairs[p] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] < 2:
            break
        merges.append(best)
        for w, s in split.items():
            i = 0
            while i + 1 < len(s):
                if (s[i], s[i + 1]) == best:
                    s[i:i + 2] = [s[i] + s[i + 1]]
                i += 1
    return merges


def added_token(i, content, special=True):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": special}


def template(bos, bos_id):
    """A post-processor that puts the beginning-of-sequence token first."""
    one = {"SpecialToken": {"id": bos, "type_id": 0}}
    return {"type": "TemplateProcessing",
            "single": [one, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [one, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}}}


def bpe_model(vocab, merges, **options):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model.update(options)
    return {**model, "vocab": vocab, "merges": [list(m) for m in merges]}


def sentencepiece(texts, size, extra=(), alphabet=""):
    """tokenizer.json of at most `size` pieces: <unk> <s> </s>, 256 byte pieces, the extra tokens [(content,
    special)], the characters of the texts and of `alphabet`, then merges."""
    words = collections.Counter(w for t in texts for w in sentencepiece_words(t))
    chars = sorted({c for w in words for c in w} - {"\n"} | set(alphabet))
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + [e for e, _ in extra]
    plain = collections.Counter({w: n for w, n in words.items() if w != "\n"})
    merges = train(plain, size - len(names) - len(chars) - 1)
    vocab = {p: i for i, p in enumerate(names + [SPACE] + [c for c in chars if c != SPACE])}
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    flags = {"<unk>": True, "<s>": True, "</s>": True, **dict(extra)}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added_token(vocab[t], t, s) for t, s in flags.items()],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
            "pre_tokenizer": None,
            "post_processor": template("<s>", 1),
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": bpe_model(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)}


def byte_level(texts, size, specials, whole=()):
    """tokenizer.json of at most `size` pieces: 256 bytes, merges, the `whole` words (in the vocabulary but out of
    reach of the merges: `ignore_merges` finds them), the special tokens last; the first special token begins texts."""
    words = collections.Counter(w for t in texts for w in byte_level_words(t))
    merges = train(words, size - 256 - len(specials) - len(whole))
    vocab = {c: i for i, c in enumerate(BYTE_CHAR[b] for b in range(256))}
    for piece in [a + b for a, b in merges] + ["".join(BYTE_CHAR[b] for b in w.encode()) for w in whole]:
        if piece in vocab:
            raise ValueError(f"piece {piece} twice")
        vocab[piece] = len(vocab)
    first = len(vocab)
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added_token(first + i, s) for i, s in enumerate(specials)],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": LLAMA3_SPLIT}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                template(specials[0], first)]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": bpe_model(vocab, merges, ignore_merges=True)}


def write_json(path, value, indent=None):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=indent)
        f.write("\n")
