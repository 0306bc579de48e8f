# SPDX-License-Identifier: Apache-2.0
"""The demo tokenizer: training it, and turning the documents of corpus.py into ids quickly.

The reference tokenizer is quadratic in the length of a text. Here merges never cross a word (the trainer saw words
only), so each distinct word is encoded once; `check_encoder` compares the two on real documents.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "goldens"))

import bpe_trainer  # noqa: E402
from tokenizer import Tokenizer  # noqa: E402

import corpus  # noqa: E402

VOCAB_MAX = 1024
BOS, EOS = 1, 2


def train_tokenizer(documents):
    """tokenizer.json, learned from every part of the documents."""
    texts = [t.replace("</s>", "") for d in documents for part, _ in d
             for t in part.replace(corpus.START, corpus.END).split(corpus.END) if t]
    alphabet = "".join(chr(c) for c in range(32, 127))
    return bpe_trainer.sentencepiece(texts, VOCAB_MAX, [(corpus.START, True), (corpus.END, True)], alphabet)


class Encoder:
    def __init__(self, folder):
        self.tokenizer = Tokenizer(folder)
        self.words = {}

    def text(self, text):
        """ids of a text, without the beginning-of-sequence token"""
        ids = []
        for segment, added in self.tokenizer.split_added(text):
            if added is not None:
                ids.append(added)
                continue
            for word in bpe_trainer.sentencepiece_words(segment):
                if word not in self.words:
                    self.words[word] = self.tokenizer.bpe(word)
                ids += self.words[word]
        return ids

    def document(self, parts):
        """-> (ids, learn): one flag a token, true where the token should be predicted. Parts are encoded as one text;
        a part's tokens are those that its characters add."""
        text, ids, learn = "", [], []
        for part, flag in parts:
            text += part
            ids = self.text(text)
            learn += [flag] * (len(ids) - len(learn))
        return ids, learn

    def check_encoder(self, documents):
        for d in documents:
            text = "".join(part for part, _ in d)
            if self.text(text) != self.tokenizer.encode(text, template=False):
                raise ValueError(f"word-wise encoding differs: {text}")
