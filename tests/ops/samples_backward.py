"""Samples of the gradients: those of the ops they belong to, with a gradient of the output beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tests.ops.samples import CGIN, HYSTERESIS_POOL, MOMENT_POOL, Arrays, OpCase, Sample

from vqafast import ops


def _grad(sample: Sample, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(list(f"grad {sample.name}".encode())).normal(size=shape).astype(dtype)


def _valid(lengths: Any, batch: int, time: int) -> list[int]:
    return [time] * batch if lengths is None else list(lengths)


def cgin_backward_sample(sample: Sample) -> Sample:
    x = sample.arrays["x"]
    wanted = ("x", "y", "gamma_x", "gamma_y")
    arrays: Arrays = {"grad": _grad(sample, (*x.shape[:2], 2 * x.shape[2]), x.dtype)}
    return replace(sample, arrays=arrays | {name: sample.arrays[name] for name in wanted})


def plain_cgin_backward(
    grad: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    gamma_x: Any,
    gamma_y: Any,
    lengths: Any = None,
    mode: str = "cgin",
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """What plain torch's autograd computes, operator by operator, in the arrays' dtype."""
    real = x.dtype.type
    batch, time, width = x.shape
    found = [np.zeros_like(x) for _ in range(4)]
    for b, n in enumerate(_valid(lengths, batch, time)):
        for k, (own, other, gamma) in enumerate(((x, y, gamma_x), (y, x, gamma_y))):
            u, v, g = own[b, :n], other[b, :n], grad[b, :n, k * width : (k + 1) * width]
            centred, guide = u - u.mean(axis=0), v - v.mean(axis=0)
            sigma = np.sqrt(np.square(centred).mean(axis=0) + real(eps))
            guide_sigma = np.sqrt(np.square(guide).mean(axis=0) + real(eps))
            normalised = centred / sigma
            h = g * (guide_sigma if mode == "adain" else gamma[b, :n] + real(mode == "cgin"))
            d_sigma = -(h * normalised / sigma).sum(axis=0)
            d_centred = h / sigma + d_sigma / sigma * centred / real(n)
            found[k][b, :n] += d_centred - d_centred.mean(axis=0)
            if mode == "adain":
                d_guide = (g * normalised).sum(axis=0) / guide_sigma * guide / real(n)
                found[1 - k][b, :n] += d_guide - d_guide.mean(axis=0) + g.mean(axis=0)
            else:
                found[2 + k][b, :n] = g * normalised
    return (*found[:2], None, None) if mode == "adain" else tuple(found)


CGIN_BACKWARD = OpCase(
    "cgin_backward",
    ops.cgin_backward,
    tuple(cgin_backward_sample(sample) for sample in CGIN.samples),
    plain_cgin_backward,
    lambda sample: (sample.arrays["x"].shape,) * (2 if sample.arrays["gamma_x"] is None else 4),
)


def hysteresis_backward_sample(sample: Sample) -> Sample:
    q = sample.arrays["q"]
    arrays: Arrays = {
        "d_pooled": _grad(sample, q.shape[:1], q.dtype),
        "d_series": _grad(sample, q.shape, q.dtype),
        "q": q,
    }
    return replace(sample, arrays=arrays)


def plain_hysteresis_backward(
    d_pooled: Any, d_series: Any, q: np.ndarray, lengths: Any = None, alpha: float = 0.5, beta: int = 6
) -> tuple[np.ndarray]:
    real = q.dtype.type
    batch, time = q.shape
    found = np.zeros_like(q)
    for b, n in enumerate(_valid(lengths, batch, time)):
        pooled = real(0) if d_pooled is None else d_pooled[b] / real(n)
        for t in range(n):
            share = pooled + (real(0) if d_series is None else d_series[b, t])
            first = max(0, t - beta)
            found[b, 0 if t == 0 else first + int(q[b, first:t].argmin())] += real(alpha) * share
            ahead = q[b, t : min(t + beta + 1, n)]
            weights = np.exp(ahead.min() - ahead)
            weights /= weights.sum()
            centred = ahead - (weights * ahead).sum()
            found[b, t : t + len(ahead)] += real(1 - alpha) * share * weights * (1 - centred)
    return (found,)


def _tie(name: str, row: list[float], **options: Any) -> Sample:
    q = np.array([row], np.float32)
    arrays: Arrays = {"d_pooled": None, "d_series": np.ones_like(q), "q": q}
    return Sample(name, arrays, options)


HYSTERESIS_POOL_BACKWARD = OpCase(
    "hysteresis_pool_backward",
    ops.hysteresis_pool_backward,
    (
        *(hysteresis_backward_sample(sample) for sample in HYSTERESIS_POOL.samples),
        _tie("ties", [2, 1, 3, 1, 1, 4, 2], alpha=1.0),
        _tie("all_equal", [1] * 9, beta=3),
    ),
    plain_hysteresis_backward,
    lambda sample: (sample.arrays["q"].shape,),
)


def moment_backward_sample(sample: Sample) -> Sample:
    x = sample.arrays["x"]
    moments = ops.moment_pool(x, **sample.options)
    arrays: Arrays = {"grad": _grad(sample, moments.shape, moments.dtype), "x": x, "moments": moments}
    return replace(sample, arrays=arrays)


def plain_moments_backward(
    grad: np.ndarray, x: np.ndarray, moments: np.ndarray, layout: str = "nchw"
) -> tuple[np.ndarray]:
    """Autograd's arithmetic on float32 maps, rounded to the dtype of the map."""
    del moments
    axes = (2, 3) if layout == "nchw" else (1, 2)
    maps = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
    centred = maps - maps.mean(axis=axes, keepdims=True)
    deviations = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True))
    d_mean, d_deviation = (np.expand_dims(half, axes) for half in np.split(grad, 2, axis=1))
    normalised = np.divide(centred, deviations, out=np.zeros_like(maps), where=deviations > 0)
    pixels = maps.dtype.type(maps.shape[axes[0]] * maps.shape[axes[1]])
    return ((d_mean / pixels + normalised * (d_deviation / pixels)).astype(x.dtype),)


MOMENT_POOL_BACKWARD = OpCase(
    "moment_pool_backward",
    ops.moment_pool_backward,
    tuple(moment_backward_sample(sample) for sample in MOMENT_POOL.samples),
    plain_moments_backward,
    lambda sample: (sample.arrays["x"].shape,),
)

BACKWARD_CASES: tuple[OpCase, ...] = (CGIN_BACKWARD, HYSTERESIS_POOL_BACKWARD, MOMENT_POOL_BACKWARD)
