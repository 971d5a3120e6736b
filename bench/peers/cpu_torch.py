"""Times `nhac bench` against PyTorch on the CPU: chunkwise NHA, and causal attention for what a user has today.
Subjects are interleaved round by round in one run; every NHA subject is first checked against an fp64 token loop."""

import argparse
import ctypes
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

# Large temporaries on huge pages, as nhac's own benchmark has its data; set before torch is loaded.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# glibc would return every temporary to the kernel and fault it in again: keep blocks up to 32 MiB, its upper limit.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
try:
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 32 << 20)
    ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
except (AttributeError, OSError):
    pass  # not glibc

import torch
import torch._inductor.config
import torch.nn.functional as F

B, HQ, H, K, V, M, W = 1, 8, 2, 128, 128, 64, 64
G = HQ // H
NORMALIZER = 8
SCALE = K ** -0.5
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
TOLERANCE = {"f32": 1e-5, "bf16": 4e-3}


# ---- Inputs -------------------------------------------------------------------------------------------------------

def rotate(x, inv_freq):
    """neox rotation of x [B,T,*,K] at positions 0..T-1, in fp64: dimension i is paired with i + K/2. None: none."""
    if inv_freq is None:
        return x.double()
    angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * inv_freq
    cos, sin = angle.cos()[None, :, None], angle.sin()[None, :, None]
    lo, hi = x.double().split(K // 2, -1)
    return torch.cat([lo * cos - hi * sin, hi * cos + lo * sin], -1)


def inputs(tokens, dtype, inv_freq, seed=1):
    """q, k, v, gate logits f, and the rotated rq, rk; token-major [B,T,heads,*], contiguous, in `dtype`."""
    gen = torch.Generator().manual_seed(seed)
    draw = lambda heads, dim: torch.randn(B, tokens, heads, dim, generator=gen).to(dtype)
    x = {"q": draw(HQ, K), "k": draw(H, K), "v": draw(H, V), "f": draw(H, M)}
    for name in "q", "k":
        x["r" + name] = rotate(x[name], inv_freq).to(dtype)
    return x


# ---- The reference: one token at a time, fp64 ---------------------------------------------------------------------

def token_loop(x, rq, rk):
    """o [B,T,HQ,V] by the definition, slot lag = W. rq, rk are rotated q and k in fp64."""
    q, k, v = (x[n].double() for n in "qkv")
    g = F.logsigmoid(x["f"].double()) / NORMALIZER
    tokens = q.shape[1]
    q, rq = (y.reshape(B, tokens, H, G, K) for y in (q, rq))
    hk = torch.zeros(B, H, M, K, dtype=torch.float64)
    hv = torch.zeros(B, H, M, V, dtype=torch.float64)
    out = torch.empty(B, tokens, H, G, V, dtype=torch.float64)
    for t in range(tokens):
        if t >= W:
            e, s = g[:, t - W].exp()[..., None], -torch.expm1(g[:, t - W])[..., None]
            hk = e * hk + s * k[:, t - W, :, None]
            hv = e * hv + s * v[:, t - W, :, None]
        first = max(0, t - W + 1)
        a = torch.einsum("bhgk,bhmk->bhgm", q[:, t], hk)
        b = torch.einsum("bhgk,bjhk->bhgj", rq[:, t], rk[:, first:t + 1])
        p = torch.softmax(SCALE * torch.cat([a, b], -1), -1)
        out[:, t] = torch.einsum("bhgm,bhmv->bhgv", p[..., :M], hv) \
            + torch.einsum("bhgj,bjhv->bhgv", p[..., M:], v[:, first:t + 1])
    return out.reshape(B, tokens, HQ, V)


# ---- Chunkwise NHA ------------------------------------------------------------------------------------------------

def span(q, rq, kv_in, kwt, vw, f, state, band, entered, before_start):
    """c chunks of C tokens at once, for n = B*H kv heads. Rows of q are (token, query head of the group).
      q, rq [n,c,C*G,K]; kv_in [n,c,C,K+V]: the tokens absorbed at these steps; f [n,c,C,M]: their gate logits,
      +inf (absorb nothing) before token 0; kwt [n,c,K,W+C], vw [n,c,W+C,V]: the window, from W tokens before the
      chunk; state [n,M,K+V]: the memory before the first chunk.
    With S the sum of log gates from the chunk's start and s = 1 - e^g, in exact arithmetic
      a[i,m] = e^S[i,m] (q_i . hk[m] + sum_{u<=i} (q_i . k_u) s[u,m] e^-S[u,m]).
    As the slot lag is W, the tokens absorbed in a chunk are the first C of its window, and those that row i has
    absorbed (u <= i) are just those that left its window: both readings of v share one product.
    e^-S must stay finite in f32: the log gates of a chunk may add up to about -80, "moderate" gates."""
    n, c, rows, _ = q.shape
    C = rows // G
    product = q.dtype
    g = F.logsigmoid(f.float()) * (1.0 / NORMALIZER)
    S = g.cumsum(2)
    s = -torch.expm1(g)
    last = S[:, :, -1:]
    up, down = S.exp(), (s * (-S).exp()).to(product)
    flat = lambda x: x.reshape(n * c, *x.shape[2:])

    # Memory before each chunk: one product for what each adds, then the recurrence over chunks.
    added = torch.bmm(flat(s * (last - S).exp()).to(product).transpose(1, 2), flat(kv_in)).view(n, c, M, K + V).float()
    decay = last.exp().transpose(2, 3)
    befores = []
    for i in range(c):
        befores.append(state)
        state = torch.addcmul(added[:, i], decay[:, i], state)
    memory = torch.stack(befores, 1).to(product)
    hk, hv = flat(memory[..., :K]), flat(memory[..., K:])

    qf, downf = flat(q), flat(down)
    inner = torch.where(entered, torch.bmm(qf, flat(kv_in[..., :K]).transpose(1, 2)), 0)
    a = torch.baddbmm(torch.bmm(qf, hk.transpose(1, 2)), inner, downf).float()
    up = up[:, :, :, None].expand(n, c, C, G, M).reshape(n * c, rows, M)
    b = torch.bmm(flat(rq), flat(kwt)).float() * SCALE + band
    if before_start is not None:  # the window's rows that lie before token 0
        b = b.view(n, c, rows, W + C).masked_fill(before_start, float("-inf")).view(n * c, rows, W + C)
    p = torch.softmax(torch.cat([a * up * SCALE, b], -1), -1)
    pa, pb = (p[..., :M] * up).to(product), p[..., M:].to(product)
    absorbed = torch.where(entered, torch.bmm(pa, downf.transpose(1, 2)), pb[..., :C])
    o = torch.baddbmm(torch.bmm(pa, hv), torch.cat([absorbed, pb[..., C:]], -1), flat(vw))
    return o.view(n, c, rows, V), state


torch._dynamo.config.recompile_limit = 64  # one graph a shape: chunk, span, dtype, first span or not
compiled_span = torch.compile(span, dynamic=False)


def chunkwise(x, C, chunks_at_once, product, fn):
    """o [B,T,HQ,V] in the dtype of q. T: a multiple of C, W a multiple of C."""
    tokens, dtype = x["q"].shape[1], x["q"].dtype
    chunks, n = tokens // C, B * H
    assert tokens % C == 0 and W % C == 0
    rows = lambda y: y.to(product).view(B, chunks, C, H, G, K).permute(0, 3, 1, 2, 4, 5).reshape(n, chunks, C * G, K)
    late = lambda y, fill: F.pad(y.transpose(1, 2), (0, 0, W, 0), value=fill).reshape(n, W + tokens, -1)
    q, rq = rows(x["q"]), rows(x["rq"])
    kv = late(torch.cat([x["k"], x["v"]], -1).to(product), 0.0)
    kv_in = kv[:, :tokens].unflatten(1, (chunks, C))
    f = late(x["f"], float("inf"))[:, :tokens].unflatten(1, (chunks, C))
    kwt = late(x["rk"].to(product), 0.0).unfold(1, W + C, C)
    vw = kv[..., K:].unfold(1, W + C, C).transpose(2, 3)

    i = torch.arange(C).repeat_interleave(G)[:, None]
    j = torch.arange(W + C)
    band = torch.zeros(C * G, W + C).masked_fill((j <= i) | (j > i + W), float("-inf"))
    entered = j[:C] <= i
    before = j < W - C * torch.arange(chunks)[:, None, None]  # [chunks,1,W+C]: token c*C - W + j < 0
    state = torch.zeros(n, M, K + V)
    out = []
    for at in range(0, chunks, chunks_at_once):
        part = slice(at, min(chunks, at + chunks_at_once))
        o, state = fn(q[:, part], rq[:, part], kv_in[:, part], kwt[:, part], vw[:, part], f[:, part], state, band,
                      entered, before[part] if at * C < W else None)
        out.append(o)
    o = out[0] if len(out) == 1 else torch.cat(out, 1)
    return o.view(B, H, chunks, C, G, V).permute(0, 2, 3, 1, 4, 5).reshape(B, tokens, HQ, V).to(dtype)


class Variant:
    """C:AT:PRODUCTS:HOW, for example 64:8:bf16:compile. AT chunks at once (0: all)."""

    def __init__(self, text):
        c, at, product, how = text.split(":")
        self.text, self.C, self.at, self.product, self.how = text, int(c), int(at), DTYPES[product], how
        if how not in ("eager", "compile"):
            raise SystemExit(f"{text}: eager or compile expected")

    def __call__(self, x):
        chunks = x["q"].shape[1] // self.C
        return chunkwise(x, self.C, self.at or chunks, self.product, compiled_span if self.how == "compile" else span)


def causal(x):
    """Causal attention over all T tokens on the rotated q and k, kv heads shared by the group."""
    q, k, v = (x[n].transpose(1, 2) for n in ("rq", "rk", "v"))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=SCALE, enable_gqa=True)


# ---- nhac ---------------------------------------------------------------------------------------------------------

def nhac_bench(args, library, tokens, threads):
    command = [args.nhac, "bench", library, "--op", "prefill", "--device", "cpu", "--batch", str(B), "--tokens",
               str(tokens), "--threads", str(threads), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[0])


def nhac_output(args, library, x, given):
    """o of `nhac run` on x, through safetensors: 8 bytes of header length, a JSON header, the tensors."""
    names = {torch.float32: "F32", torch.bfloat16: "BF16"}
    header, blobs, at = {}, [], 0
    for name in ["q", "k", "v", "f"] + (["rq", "rk"] if given else []):
        blob = x[name].contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[x[name].dtype], "shape": list(x[name].shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
        with open(source, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
        command = [args.nhac, "run", library, "--op", "prefill", "--device", "cpu", "--in", source, "--out", target]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
        with open(target, "rb") as read:
            data = read.read()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + length])["o"]
    begin, end = entry["data_offsets"]
    raw = torch.frombuffer(bytearray(data[8 + length + begin:8 + length + end]), dtype=torch.uint8)
    return raw.view(x["q"].dtype).view(*entry["shape"])


def spec_of(library):
    """(dtype, inverse frequencies or None, whether rq and rk are given) of a library of this file's problem; its
    spec.yaml is in canonical form. Where they are given, they are q and k rotated as theta = 500000 has it."""
    path = os.path.join(library, "spec.yaml")
    with open(path) as file:
        lines = dict(line.rstrip().split(": ", 1) for line in file if re.match(r"[a-z_]+: ", line))
    need = {"head_dim": f"{{qk: {K}, v: {V}}}", "heads": f"{{query: {HQ}, kv: {H}}}", "slots": str(M),
            "window": str(W), "slot_lag": str(W), "slot_map": "identity", "value_map": "identity"}
    for key, value in need.items():
        if lines.get(key) != value:
            raise SystemExit(f"{path}: {key}: {lines.get(key)}: {value} expected")
    if not lines["gate"].startswith(f"{{input: logit, normalizer: {NORMALIZER}, dtype: {lines['dtype']}, s: derived"):
        raise SystemExit(f"{path}: gate: logits with normalizer {NORMALIZER} in the spec's dtype expected")
    if lines["dtype"] not in DTYPES:
        raise SystemExit(f"{path}: dtype: f32 or bf16 expected")
    frequencies = re.fullmatch(r"\{style: neox, inv_freq: \[(.*)\]\}", lines["rope"])
    if frequencies:
        return lines["dtype"], torch.tensor([float(x) for x in frequencies.group(1).split(",")], dtype=torch.float64), False
    if lines["rope"].startswith("{style: given"):
        return lines["dtype"], 500000.0 ** -(torch.arange(K // 2, dtype=torch.float64) * 2 / K), True
    if not lines["rope"].startswith("{style: none"):
        raise SystemExit(f"{path}: rope: none, neox or given expected")
    return lines["dtype"], None, False


# ---- Checking and timing ------------------------------------------------------------------------------------------

def check(args, library, dtype, inv_freq, given, variants, tokens=512):
    """Relative L2 of every NHA subject, nhac's among them, against the token loop on the same rounded inputs.
    Torch is given rotated inputs rounded to the dtype, nhac where its spec says so; their reference has the same."""
    x = inputs(tokens, DTYPES[dtype], inv_freq, seed=2)
    ref = token_loop(x, x["rq"].double(), x["rk"].double())
    exact = ref if given else token_loop(x, *(rotate(x[n], inv_freq) for n in "qk"))
    distance = lambda o, r: ((o.double() - r).norm() / r.norm()).item()
    errors = {"nhac": distance(nhac_output(args, library, x, given), exact)}
    with torch.inference_mode():
        for variant in variants:
            errors[variant.text] = distance(variant(x), ref)
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE[dtype]]
    for name, error in errors.items():
        print(f"check {dtype:4} T={tokens} {name:24} relative L2 {error:.2e}"
              f"{'  ABOVE ' + str(TOLERANCE[dtype]) if name in wrong else ''}", flush=True)
    return wrong


def set_threads(count):
    """For every pool in this process, compiled code included: it has the count written into it."""
    torch.set_num_threads(count)
    torch._inductor.config.cpp.threads = count
    torch._dynamo.reset()


def seconds(fn, least):
    """Shortest of the calls made in `least` seconds (at least one); and the median of them."""
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin < least:
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def busy():
    """(CPU seconds used by everyone on this machine, by this process and its ended children); zeros if unknown."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return 0.0, 0.0
    everyone = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return everyone, sum(os.times()[:4])


def product_rate(dtype):
    """GFLOP/s of torch's own 1024^3 product: shows that the peer has its best instructions."""
    a, b = torch.randn(1024, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    a @ b
    return 2 * 1024 ** 3 / seconds(lambda: a @ b, 0.1)[0] * 1e-9


def compare(args, library, dtype, inv_freq, tokens, threads, subjects):
    """Rounds of all subjects and nhac; order turned round every other time. Prints the paired ratios."""
    set_threads(threads)
    x = inputs(tokens, DTYPES[dtype], inv_freq)
    took = {name: [] for name in subjects}
    best = {name: float("inf") for name in subjects}
    ours, rows, others = [], [], []
    with torch.inference_mode():
        rate = product_rate(DTYPES[dtype])
        for fn in subjects.values():
            if args.slice or fn is not causal:
                fn(x)  # compiles
        for r in range(args.rounds):
            names = list(subjects) + [None]
            clock, (all_before, own_before) = time.perf_counter(), busy()
            for name in names if r % 2 == 0 else names[::-1]:
                if name is None:
                    row = nhac_bench(args, library, tokens, threads)
                    rows.append(row)
                    ours.append(row["us"] * 1e-6)
                else:
                    least, median = seconds(lambda: subjects[name](x), args.slice)
                    took[name].append(median)
                    best[name] = min(best[name], least)
            all_after, own_after = busy()
            foreign = (all_after - all_before) - (own_after - own_before)
            others.append(max(0.0, foreign) / (time.perf_counter() - clock))
    fastest = min(row["us_min"] for row in rows) * 1e-6
    print(f"\n{dtype} T={tokens} threads={threads}, {args.rounds} rounds; torch product {rate:.0f} GFLOP/s, "
          f"nhac kernel {rows[0]['kernel']}, its limit "
          f"{statistics.median(row['limit_gflops'] for row in rows):.0f} GFLOP/s; "
          f"other processes used {min(others):.2f} to {max(others):.2f} CPUs in a round")
    print(f"  {'':28}{'median ms':>10} {'best ms':>9} {'tokens/s':>9}   "
          "time over nhac's: median [least, most], of bests")
    print(f"  {'nhac':28}{statistics.median(ours) * 1e3:10.2f} {fastest * 1e3:9.2f} "
          f"{tokens / statistics.median(ours):9.0f}")
    for name, times in took.items():
        ratios = [a / b for a, b in zip(times, ours)]
        print(f"  {name:28}{statistics.median(times) * 1e3:10.2f} {best[name] * 1e3:9.2f} "
              f"{tokens / statistics.median(times):9.0f}   {statistics.median(ratios):.2f} "
              f"[{min(ratios):.2f}, {max(ratios):.2f}], {best[name] / fastest:.2f}", flush=True)


def main():
    every = os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nhac", help="the nhac binary")
    parser.add_argument("library", nargs="+", help="a library of the bench shape, f32 or bf16")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, every])
    parser.add_argument("--causal", type=int, nargs="*", default=[], help="T at which causal attention is timed too")
    parser.add_argument("--variants", nargs="+", help="C:AT:PRODUCTS:HOW (f32 libraries: those with f32 products)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", type=float, default=0.15,
                        help="seconds a subject a round; 0: one call, causal attention unwarmed")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, capability {torch.backends.cpu.get_cpu_capability()}, "
          f"mkldnn {torch.backends.mkldnn.is_available()}, mkl {torch.backends.mkl.is_available()}, {every} cpus")
    for library in args.library:
        dtype, inv_freq, given = spec_of(library)
        # Compiling all chunks at once would unroll the recurrence over them, anew for each T.
        texts = args.variants or [f"{c}:{at}:{p}:{how}" for c in (32, 64) for p in DTYPES
                                  for at, how in ((0, "eager"), (8, "eager"), (8, "compile"))]
        variants = [v for v in map(Variant, texts) if dtype == "bf16" or v.product == torch.float32]
        set_threads(args.threads[0])
        wrong = check(args, library, dtype, inv_freq, given, variants)
        if "nhac" in wrong:
            return 1
        # A variant outside the tolerance is not a peer.
        subjects = {v.text: v for v in variants if v.text not in wrong}
        for tokens in args.tokens:
            also = {"causal sdpa": causal} if tokens in args.causal else {}
            for threads in args.threads:
                compare(args, library, dtype, inv_freq, tokens, threads, {**subjects, **also})
    return 0


if __name__ == "__main__":
    sys.exit(main())
