"""Safetensors in plain Python, and what the golden cases need of them: cutting a sequence out, and comparing with fp64."""
import array
import json
import math
import struct

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4}
PER_TOKEN = ("q", "k", "v", "f", "g", "s", "rq", "rk")  # [B,T,...]


class Tensor:
    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), bytes(data)
        if len(self.data) != math.prod(self.shape) * BYTES[dtype]:
            raise ValueError("a tensor of %d bytes is not %s %s" % (len(self.data), dtype, self.shape))

    def numbers(self, begin=0, end=None):
        """Elements [begin, end) as Python numbers."""
        size = BYTES[self.dtype]
        raw = self.data[begin * size:(len(self.data) if end is None else end * size)]
        if self.dtype == "BF16":
            raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
            return array.array("f", raw).tolist()
        if self.dtype == "F16":
            return [x for (x,) in struct.iter_unpack("<e", raw)]
        return array.array({"F64": "d", "F32": "f", "I64": "q", "I32": "i"}[self.dtype], raw).tolist()


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return {name: Tensor(t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def write(path, tensors):
    header, at = {}, 0
    for name, t in sorted(tensors.items(), key=lambda item: -BYTES[item[1].dtype]):
        header[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in header:
            file.write(tensors[name].data)


def rows(t, begin, end):
    """Bytes of token rows [begin, end) of a tensor [B,T,...], counted over B * T."""
    size = math.prod(t.shape[2:]) * BYTES[t.dtype]
    return t.data[begin * size:end * size]


def sequences(given):
    """(first row, tokens) of each sequence, rows counted over B * T."""
    if "cu_seqlens" in given:
        cu = given["cu_seqlens"].numbers()
        return [(a, b - a) for a, b in zip(cu, cu[1:])]
    batch, tokens = given["q"].shape[:2]
    return [(n * tokens, tokens) for n in range(batch)]


def cuts(tokens):
    """Pieces (op, begin, end) that a sequence is run in."""
    if tokens >= 12:
        a, b, c, d = tokens // 3, tokens // 3 + 3, tokens - 5, tokens - 4
        return [("prefill", 0, a), ("decode", a, b), ("prefill", b, c), ("prefill", c, d), ("decode", d, tokens)]
    if tokens >= 2:
        return [("prefill", 0, 1), ("decode", 1, tokens)]
    return [("prefill", 0, tokens)] if tokens else []


def piece(given, n, begin, end, before):
    """Inputs of rows [begin, end), which belong to sequence n, from the cache in the outputs `before`, or from the start."""
    inputs = {name: Tensor(t.dtype, [1, end - begin, *t.shape[2:]], rows(t, begin, end)) for name, t in given.items() if name in PER_TOKEN}
    if before:
        inputs.update({name: t for name, t in before.items() if name.startswith("cache.")})
        return inputs
    for name in ("hk0", "hv0"):
        if name in given:
            inputs[name] = one(given[name], n)
    for name, t in given.items():
        if name.startswith("cache."):
            inputs[name] = one(t, n)
    return inputs


def one(t, n):
    """Entry n of the first dimension."""
    size = len(t.data) // t.shape[0]
    return Tensor(t.dtype, [1, *t.shape[1:]], t.data[n * size:(n + 1) * size])


def error(expected, got, limit):
    """Relative L2 error as a fraction of the limit; infinite where a number is not finite, or where all should be zero and is not."""
    difference = norm = 0.0
    for x, y in zip(expected, got):
        if not math.isfinite(y):
            return math.inf
        difference += (y - x) ** 2
        norm += x * x
    if difference == 0:
        return 0.0
    return math.sqrt(difference / norm) / limit if norm else math.inf


def tolerance(got):
    return 4e-3 if got["o"].dtype in ("F16", "BF16") else 1e-5


def compare(expected, got):
    worst = 0.0
    for name, t in expected.items():
        if name not in got or t.dtype in ("I64", "I32"):
            continue
        if math.prod(t.shape) != math.prod(got[name].shape):
            raise ValueError("%s has shape %s, expected %s" % (name, got[name].shape, t.shape))
        worst = max(worst, error(t.numbers(), got[name].numbers(), tolerance(got)))
    return worst


def compare_pieces(expected, n, begin, length, outputs):
    """o and lse of the pieces, one after another, against the sequence's rows; memory of the last piece against sequence n's."""
    worst = 0.0
    for name in ("o", "lse"):
        if name in expected:
            t = expected[name]
            row = math.prod(t.shape[2:])
            got = [x for output in outputs for x in output[name].numbers()]
            if len(got) != length * row:
                raise ValueError("%s of the pieces has %d elements, expected %d" % (name, len(got), length * row))
            worst = max(worst, error(t.numbers(begin * row, (begin + length) * row), got, tolerance(outputs[0])))
    for name in ("hk", "hv"):
        if name in expected and name in outputs[-1]:
            worst = max(worst, error(one(expected[name], n).numbers(), outputs[-1][name].numbers(), tolerance(outputs[0])))
    return worst
