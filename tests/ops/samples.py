"""One list of samples per op: parity, layout, thread and speed checks all read it.

The tolerance of a sample is relative to what a plain float32 NumPy expression loses on the same input: the op
may be at most `RATIO` times as far from the float64 truth, plus `FLOOR` times the largest value of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast import ops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATIO = 2.0
FLOOR = 4  # eps of the result's dtype
FLOOR_64 = 64  # the truth of float64 samples loses digits itself

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Arguments of one call. Tests may rearrange `arrays` in memory; `options` are passed as they are."""

    name: str
    arrays: Arrays
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OpCase:
    name: str
    op: Any
    samples: tuple[Sample, ...]
    plain: Callable[..., Sequence[np.ndarray]]  # the obvious float32 expression
    out_shapes: Callable[[Sample], tuple[tuple[int, ...], ...]]

    def run(self, arrays: Arrays, options: dict[str, Any], **more: Any) -> tuple[np.ndarray, ...]:
        """Results that are there: a gradient of an argument that was not given is None."""
        return as_tuple(self.op(**arrays, **options, **more))

    def dtype_of(self, sample: Sample) -> np.dtype[Any]:
        """Of the results."""
        dtype: np.dtype[Any] = sample.arrays["q" if "q" in sample.arrays else "x"].dtype
        return np.dtype(np.float32) if self.name == "moment_pool" and dtype.itemsize == 2 else dtype

    def truth(self, sample: Sample) -> tuple[np.ndarray, ...]:
        return as_tuple(self.op.reference(**sample.arrays, **sample.options))


def as_tuple(result: Any) -> tuple[np.ndarray, ...]:
    return tuple(r for r in result if r is not None) if isinstance(result, tuple) else (result,)


def error_of(result: np.ndarray, truth: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(result, np.float64) - truth), initial=0.0))


def tolerance(case: OpCase, sample: Sample, truth: Sequence[np.ndarray]) -> tuple[float, ...]:
    plain = as_tuple(case.plain(**sample.arrays, **sample.options))
    floor = FLOOR_64 if case.dtype_of(sample) == np.float64 else FLOOR
    return tuple(
        RATIO * error_of(p, t) + floor * float(np.finfo(p.dtype).eps * np.max(np.abs(t), initial=0.0))
        for p, t in zip(plain, truth, strict=True)
    )


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))


# hysteresis_pool


def _scores(
    name: str, batch: int, time: int, scale: float = 1.0, *, dtype: type = np.float32, **options: Any
) -> Sample:
    q = (_rng(name).normal(size=(batch, time)) * scale + scale).astype(dtype)
    return Sample(name, {"q": q}, options)


def plain_hysteresis(
    q: np.ndarray, lengths: Any = None, alpha: float = 0.5, beta: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    batch, time = q.shape
    real = q.dtype.type
    series = np.zeros((batch, time), q.dtype)
    pooled = np.zeros(batch, q.dtype)
    for b in range(batch):
        length = time if lengths is None else int(lengths[b])
        for t in range(length):
            memory = q[b, 0] if t == 0 else q[b, max(0, t - beta) : t].min()
            ahead = q[b, t : min(t + beta + 1, length)]
            weights = np.exp(ahead.min() - ahead)
            weights /= weights.sum()
            series[b, t] = real(alpha) * memory + real(1 - alpha) * (weights * ahead).sum()
        pooled[b] = series[b, :length].mean()
    return pooled, series


HYSTERESIS_POOL = OpCase(
    "hysteresis_pool",
    ops.hysteresis_pool,
    (
        _scores("one", 1, 1),
        _scores("odd", 3, 7),
        _scores("window", 2, 6),
        _scores("window_plus_1", 2, 8),
        _scores("long", 5, 257, 40.0),
        _scores("lengths", 4, 19, lengths=[1, 19, 6, 8]),
        _scores("beta_1", 2, 11, beta=1),
        _scores("beta_beyond", 2, 5, beta=100),
        _scores("memory_only", 2, 33, alpha=1.0),
        _scores("current_only", 2, 33, alpha=0.0),
        _scores("far_apart", 2, 33, 3000.0),
        _scores("float64", 3, 40, dtype=np.float64, lengths=[40, 1, 9]),
        Sample("empty_batch", {"q": np.zeros((0, 4), np.float32)}),
    ),
    plain_hysteresis,
    lambda sample: (sample.arrays["q"].shape[:1], sample.arrays["q"].shape),
)


# moment_pool


def _maps(
    name: str,
    shape: tuple[int, ...],
    *,
    dtype: type = np.float32,
    offset: float = 0.5,
    scale: float = 1.0,
    **options: Any,
) -> Sample:
    x = (_rng(name).normal(size=shape) * scale + offset).astype(dtype)
    return Sample(name, {"x": x}, options)


def plain_moments(x: np.ndarray, layout: str = "nchw") -> tuple[np.ndarray]:
    axes = (2, 3) if layout == "nchw" else (1, 2)
    maps = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
    return (np.concatenate([maps.mean(axis=axes), maps.std(axis=axes)], axis=1),)


_WIDTHS = (1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)

MOMENT_POOL = OpCase(
    "moment_pool",
    ops.moment_pool,
    (
        *(_maps(f"nchw_1x{w}", (2, 3, 1, w)) for w in _WIDTHS),
        *(_maps(f"nhwc_c{c}", (2, 3, 5, c), layout="nhwc") for c in _WIDTHS),
        _maps("nchw_block_minus_1", (1, 2, 23, 89)),
        _maps("nchw_block", (1, 2, 32, 64)),
        _maps("nchw_block_plus_1", (1, 2, 3, 683)),
        _maps("nchw_chunks", (1, 3, 181, 199)),
        _maps("nhwc_chunks", (1, 181, 199, 5), layout="nhwc"),
        _maps("nchw_many_planes", (2, 520, 7, 9)),
        _maps("nhwc_many_columns", (2, 7, 9, 520), layout="nhwc"),
        _maps("nchw_offset", (1, 4, 60, 61), offset=1000.0, scale=0.01),
        _maps("nhwc_offset", (1, 60, 61, 4), offset=1000.0, scale=0.01, layout="nhwc"),
        _maps("nchw_half", (2, 5, 17, 19), dtype=np.float16),
        _maps("nhwc_half", (2, 17, 19, 21), dtype=np.float16, layout="nhwc"),
        _maps("half_subnormal", (1, 2, 9, 9), dtype=np.float16, offset=0.0, scale=1e-6),
        _maps("constant", (1, 2, 40, 70), offset=3.3, scale=0.0),
        _maps("nchw_float64", (2, 3, 50, 61), dtype=np.float64),
        _maps("nhwc_float64", (2, 50, 61, 33), dtype=np.float64, layout="nhwc"),
        Sample("empty_batch", {"x": np.zeros((0, 3, 4, 4), np.float32)}),
    ),
    plain_moments,
    lambda sample: (
        (sample.arrays["x"].shape[0], 2 * sample.arrays["x"].shape[3 if "layout" in sample.options else 1]),
    ),
)


# cgin


def _pair(
    name: str,
    batch: int,
    time: int,
    width: int,
    *,
    offset: float = 0.0,
    dtype: type = np.float32,
    **options: Any,
) -> Sample:
    rng = _rng(name)
    names = ("x", "y", "gamma_x", "theta_x", "gamma_y", "theta_y")
    arrays: Arrays = {n: rng.normal(size=(batch, time, width)).astype(dtype) for n in names}
    arrays["x"] += dtype(offset)
    if options.get("mode") == "adain":
        arrays |= dict.fromkeys(names[2:])
    return Sample(name, arrays, options)


def plain_cgin(
    x: np.ndarray,
    y: np.ndarray,
    gamma_x: Any,
    theta_x: Any,
    gamma_y: Any,
    theta_y: Any,
    lengths: Any = None,
    mode: str = "cgin",
    eps: float = 1e-5,
) -> tuple[np.ndarray]:
    batch, time, width = x.shape
    out = np.zeros((batch, time, 2 * width), x.dtype)
    for b in range(batch):
        n = time if lengths is None else int(lengths[b])
        for k, (own, other, gamma, theta) in enumerate(((x, y, gamma_x, theta_x), (y, x, gamma_y, theta_y))):
            u, v = own[b, :n], other[b, :n]
            normalised = (u - u.mean(axis=0)) / np.sqrt(u.var(axis=0) + x.dtype.type(eps))
            if mode == "adain":
                value = np.sqrt(v.var(axis=0) + x.dtype.type(eps)) * normalised + v.mean(axis=0)
            else:
                value = gamma[b, :n] * normalised + theta[b, :n] + (normalised if mode == "cgin" else 0)
            out[b, :n, k * width : (k + 1) * width] = value
    return (out,)


CGIN = OpCase(
    "cgin",
    ops.cgin,
    (
        *(_pair(f"d{d}", 2, 5, d) for d in _WIDTHS),
        *(_pair(f"t{t}", 1, t, 6) for t in (1, 2, 31, 32, 33, 64, 65)),
        *(_pair(mode, 2, 37, 19, mode=mode) for mode in ("cgin", "fgin", "adain")),
        *(
            _pair(f"{mode}_lengths", 4, 35, 33, mode=mode, lengths=[1, 35, 2, 33])
            for mode in ("cgin", "fgin", "adain")
        ),
        *(
            _pair(f"{mode}_small", 3, 4, 3, mode=mode, lengths=[4, 1, 3])
            for mode in ("cgin", "fgin", "adain")
        ),
        _pair("offset", 1, 50, 7, offset=500.0),
        _pair("eps", 1, 9, 7, eps=0.1),
        _pair("panel_minus_1", 1, 4, 255),
        _pair("panel_plus_1", 2, 33, 257, lengths=[33, 5]),
        _pair("float64", 2, 37, 131, dtype=np.float64),
        _pair("float64_adain", 2, 9, 5, dtype=np.float64, mode="adain", lengths=[9, 4]),
        _pair("empty_batch", 0, 3, 4),
    ),
    plain_cgin,
    lambda sample: ((*sample.arrays["x"].shape[:2], 2 * sample.arrays["x"].shape[2]),),
)

CASES: tuple[OpCase, ...] = (CGIN, HYSTERESIS_POOL, MOMENT_POOL)
