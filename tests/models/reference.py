"""The papers' equations written as loops over numbers, in float64: slow, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def numpy_of(tensor: Any) -> Array:
    return tensor.detach().double().numpy()


def normalised(x: Array, eps: float) -> tuple[Array, Array, Array]:
    """Eqs. 1-3 for one sample (T, D): normalised x, mu, sigma."""
    steps, width = x.shape
    out, mu, sigma = np.zeros_like(x), np.zeros(width), np.zeros(width)
    for d in range(width):
        mu[d] = sum(x[t, d] for t in range(steps)) / steps
        var = sum((x[t, d] - mu[d]) ** 2 for t in range(steps)) / steps
        sigma[d] = math.sqrt(var + eps)
        for t in range(steps):
            out[t, d] = (x[t, d] - mu[d]) / sigma[d]
    return out, mu, sigma


def cgin(x: Array, y: Array, affine: list[Array], mode: str, eps: float) -> Array:
    """Eq. 4 for one sample; affine is gamma_x, theta_x, gamma_y, theta_y."""
    xn, mu_x, sigma_x = normalised(x, eps)
    yn, mu_y, sigma_y = normalised(y, eps)
    if mode == "adain":
        return np.concatenate([sigma_y * xn + mu_y, sigma_x * yn + mu_x], axis=1)
    gamma_1 = 1.0 if mode == "cgin" else 0.0
    gx, tx, gy, ty = affine
    return np.concatenate([gx * xn + tx + gamma_1 * xn, gy * yn + ty + gamma_1 * yn], axis=1)


def attention(x: Array, wq: Array, wk: Array, wv: Array) -> Array:
    """Eq. 5 with the residual; weights are (out, in)."""
    steps, width = x.shape
    out = x.copy()
    for t in range(steps):
        logits = [float((wq @ x[t]) @ (wk @ x[s])) / math.sqrt(width) for s in range(steps)]
        top = max(logits)
        e = [math.exp(v - top) for v in logits]
        for s in range(steps):
            out[t] += e[s] / sum(e) * (wv @ x[s])
    return out


def catm(x: Array, p: dict[str, Array]) -> Array:
    """Section 3.3 for one sample (T, D), kernel 3, separate gates, shared convolution."""
    steps, width = x.shape

    def gate(v: Array, name: str) -> Array:
        hidden = np.maximum(p[f"{name}.0.weight"] @ v + p[f"{name}.0.bias"], 0)
        return 1 / (1 + np.exp(-(p[f"{name}.2.weight"] @ hidden + p[f"{name}.2.bias"])))

    peak = np.array([max(x[t, d] for t in range(steps)) for d in range(width)])
    mean = x.mean(axis=0)
    spread = np.array(
        [math.sqrt(sum((x[t, d] - mean[d]) ** 2 for t in range(steps)) / steps) for d in range(width)]
    )
    conv = np.zeros_like(x)
    for t in range(steps):
        conv[t] = p["conv_max.bias"]
        for k in (-1, 0, 1):
            if 0 <= t + k < steps:
                conv[t] += p["conv_max.weight"][:, :, k + 1] @ x[t + k]
    return np.concatenate([conv * gate(peak, "gate_max"), conv * gate(spread, "gate_std")], axis=1)


def temporal_head(x: Array, p: dict[str, Array]) -> Array:
    """Supplement, eq. 1: FC, GRU (torch's gate order r, z, n), FC."""
    hidden_size = p["gru.weight_hh_l0"].shape[1]
    h = np.zeros(hidden_size)
    scores = []
    for step in x:
        z_in = p["reduce.weight"] @ step + p["reduce.bias"]
        i = p["gru.weight_ih_l0"] @ z_in + p["gru.bias_ih_l0"]
        g = p["gru.weight_hh_l0"] @ h + p["gru.bias_hh_l0"]
        ir, iz, i_n = np.split(i, 3)
        gr, gz, gn = np.split(g, 3)
        r = 1 / (1 + np.exp(-(ir + gr)))
        z = 1 / (1 + np.exp(-(iz + gz)))
        n = np.tanh(i_n + r * gn)
        h = (1 - z) * n + z * h
        scores.append(float(p["regress.weight"][0] @ h + p["regress.bias"][0]))
    return np.array(scores)


def hysteresis(q: list[float], alpha: float, beta: int) -> tuple[float, list[float]]:
    """Supplement, eqs. 2-5, for one video; frames are numbered from 1 as there."""
    last = len(q)
    series = []
    for t in range(1, last + 1):
        before = range(max(1, t - beta), t)
        memory = q[0] if t == 1 else min(q[i - 1] for i in before)
        ahead = range(t, min(t + beta, last) + 1)
        weights = [math.exp(-q[k - 1]) for k in ahead]
        current = sum(w * q[k - 1] for w, k in zip(weights, ahead, strict=True)) / sum(weights)
        series.append(alpha * memory + (1 - alpha) * current)
    return sum(series) / last, series
