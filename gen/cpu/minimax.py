#!/usr/bin/env python3
"""Polynomial coefficients of gen/cpu/ir_math.c: weighted Remez exchange in 60 digits (mpmath), rounded to f32.

Prints C initialisers with the largest relative error and the mean (bias) of the polynomial as evaluated in exact arithmetic.
Run: python3 gen/cpu/minimax.py
"""
from mpmath import mp, mpf, matrix, lu_solve, cos, pi, log, expm1, exp, sin, atanh, sqrt
import struct

mp.dps = 60


def f32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def remez(f, lo, hi, degree, steps=12):
    """Polynomial p of the degree that minimises max |p/f - 1| on [lo, hi] (f has no zero there)."""
    n = degree + 2
    x = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * i / (n - 1)) for i in range(n)]
    for _ in range(steps):
        a = matrix(n, n)
        for i in range(n):
            for j in range(degree + 1):
                a[i, j] = x[i] ** j / f(x[i])
            a[i, degree + 1] = (-1) ** i
        solution = lu_solve(a, matrix([mpf(1)] * n))
        c = [solution[j] for j in range(degree + 1)]
        err = lambda t: sum(c[j] * t**j for j in range(degree + 1)) / f(t) - 1
        grid = [lo + (hi - lo) * mpf(i) / 1200 for i in range(1201)]
        values = [err(t) for t in grid]
        peaks, start = [], 0
        for i in range(1, len(grid) + 1):  # one extremum for each run of equal sign
            if i == len(grid) or (values[i] > 0) != (values[start] > 0):
                best = max(range(start, i), key=lambda k: abs(values[k]))
                peaks.append(grid[best])
                start = i
        if len(peaks) != n:
            break
        x = peaks
    return c


def show(name, f, lo, hi, degree):
    c = [f32(v) for v in remez(f, mpf(lo), mpf(hi), degree)]
    grid = [mpf(lo) + (mpf(hi) - mpf(lo)) * mpf(i) / 4000 for i in range(4001)]
    errors = [sum(mpf(v) * t**j for j, v in enumerate(c)) / f(t) - 1 for t in grid]
    print(f"/* {name}, degree {degree}: max {float(max(map(abs, errors))):.1e}, bias {float(sum(errors) / len(errors)):.1e} */")
    print("{" + ", ".join(f"{v.hex()}" for v in c) + "},")


def near_zero(f, limit):
    return lambda t: limit if abs(t) < mpf(10) ** -25 else f(t)


if __name__ == "__main__":
    for degree in (4, 5, 6, 7):
        show("2^r, r in [-1/2, 1/2]", lambda t: mpf(2) ** t, -0.5, 0.5, degree)
    ln2 = log(mpf(2))
    show("expm1(r)/r, |r| <= ln2/2", near_zero(lambda t: expm1(t) / t, mpf(1)), -0.3467, 0.3467, 6)
    show("atanh(z)/z in z^2, z <= 1/3", near_zero(lambda t: atanh(sqrt(t)) / sqrt(t), mpf(1)), 0, mpf(1) / 9, 5)
    show("sin(x)/x in x^2, x <= pi/4", near_zero(lambda t: sin(sqrt(t)) / sqrt(t), mpf(1)), 0, (pi / 4) ** 2, 3)
    show("cos(x) in x^2, x <= pi/4", lambda t: cos(sqrt(t)), 0, (pi / 4) ** 2, 4)
