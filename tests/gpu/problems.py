"""Random legal problems as specs: odd sizes, all dtypes, rotations, maps and gates. The same seed gives the same text anywhere."""
import random


def spec(seed, target):
    r = random.Random(seed)

    def odd(low, high):
        return 8 * (r.randint(1, high // 8) if r.random() < 0.1 else r.randint(low // 8 or 1, 9))

    k = odd(8, 256)
    v = k if r.random() < 0.4 else odd(8, 256)
    slots = 0 if r.random() < 0.12 else r.choice([1, 2, 8, 15, 16, 17, 32, 64, r.randint(1, 64), r.randint(65, 256)])
    window = 0 if r.random() < 0.12 else r.choice([1, 2, 15, 16, 17, 31, 32, 33, 64, 200, r.randint(1, 70), 1 << 40])
    if not slots and not window:
        window = 1 + r.randint(0, 40)
    lag = r.choice(["window", "window", 0, 1, r.randint(0, 90), 300])
    group, kv = r.choice([1, 2, 4, r.randint(1, 8)]), r.randint(1, 3)
    dtype = r.choice(["f32", "f16", "bf16"])
    gate = ["input: " + r.choice(["logit", "log"])]
    if "logit" in gate[0]:
        gate.append("normalizer: %s" % r.choice([8, 1.5, 16]))
    if slots and r.random() < 0.25:
        gate.append("s: given")
    if r.random() < 0.3:
        gate.append("dtype: f32")
    rope = r.choice(["none", "given", "neox", "gptj"])
    theta = ", theta: %s" % r.choice([10000, 500000, "1e+06"]) if rope in ("neox", "gptj") else ""
    return """name: random-%d
head_dim: {qk: %d, v: %d}
heads: {query: %d, kv: %d}
slots: %d
window: %d
slot_lag: %s
dtype: %s
gate: {%s}
rope: {style: %s%s}
slot_map: %s
value_map: %s
ops: [prefill, decode]
targets: [%s]
""" % (seed, k, v, group * kv, kv, slots, window, lag, dtype, ", ".join(gate), rope, theta,
       r.choice(["identity", "silu", "relu"]), r.choice(["identity", "identity", "silu"]), target)
