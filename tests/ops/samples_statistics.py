"""Samples of scene_statistics, what float64 makes of them, and how far a result may be from it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vqafast.ops import scene_statistics
from vqafast.ops.scene_statistics import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

RATIO = 2.0
FLOOR = 4 * float(np.finfo(np.float32).eps)
CAP = 64 * FLOOR
STAGES = (13, 13, 13, 13, 20, 16)
#: The means of each stage, then its standard deviations, as parts of a result row.
GROUPS = [
    slice(2 * sum(STAGES[:i]) + half * n, 2 * sum(STAGES[:i]) + (half + 1) * n)
    for i, n in enumerate(STAGES)
    for half in (0, 1)
]
assert GROUPS[-1].stop == 176


def texture(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """8-bit pictures with contrast at every scale, each followed by a noisy copy."""
    rng = np.random.default_rng([seed, n, height, width])
    now = np.zeros((n, height, width))
    for step in (1, 2, 4, 8, 16, 32):
        coarse = rng.normal(size=(n, -(-height // step), -(-width // step))) * step**0.5
        now += coarse.repeat(step, axis=1).repeat(step, axis=2)[:, :height, :width]
    now = 0.5 + 0.06 * now
    after = now + rng.normal(size=now.shape) * 0.01
    return (np.round(np.clip(np.stack([now, after], axis=1), 0, 1) * 255) / 255).astype(np.float32)


def noise(n: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng([n, height, width]).random((n, 2, height, width), dtype=np.float32)


def constant(now: float, after: float) -> np.ndarray:
    frames = np.empty((1, 2, 100, 131), np.float32)
    frames[:, 0], frames[:, 1] = now, after
    return frames


def checkerboard() -> np.ndarray:
    board = (np.indices((128, 113)).sum(axis=0) % 2).astype(np.float32)
    return np.stack([board, 1 - board])[None]


def letterbox() -> np.ndarray:
    frames = texture(1, 192, 192)
    frames[:, :, :70] = frames[:, :, 150:] = np.float32(16 / 255)
    return frames


def one_bright_pixel() -> np.ndarray:
    frames = constant(0.75, 0.75)
    frames[0, 0, 50, 61] = 1
    return frames


def faint_ramp() -> np.ndarray:
    """Less than a hundredth of a grey level from one pixel to the next, on a bright ground."""
    ramp = np.float32(0.9) + np.arange(120, dtype=np.float32) * np.float32(2**-15)
    return np.broadcast_to(ramp, (1, 2, 120, 120)).copy()


#: Here float32 has cancellation to fear, in the definition if not in the op.
FLAT = ("black", "white", "flash", "letterbox", "one_bright_pixel", "faint_ramp", "empty_batch")

SAMPLES: dict[str, Callable[[], np.ndarray]] = {
    "smallest": lambda: texture(1, 96, 96),
    "smallest_plus_1": lambda: texture(1, 97, 97),
    "odd": lambda: texture(2, 99, 117),
    "every_tail": lambda: texture(1, 103, 111),
    "one_band": lambda: texture(1, 127, 128),
    "two_bands": lambda: texture(1, 128, 127),
    "patches": lambda: texture(3, 192, 192),
    "tall": lambda: texture(1, 256, 200),
    "wide": lambda: texture(1, 96, 517),
    "noise": lambda: noise(2, 141, 150),
    "noise_then_still": lambda: np.repeat(noise(1, 112, 112)[:, :1], 2, axis=1),
    "black": lambda: constant(0, 0),
    "white": lambda: constant(1, 1),
    "flash": lambda: constant(0.3, 0.7),
    "checkerboard": checkerboard,
    "letterbox": letterbox,
    "one_bright_pixel": one_bright_pixel,
    "faint_ramp": faint_ramp,
    "out_of_range": lambda: 3 * noise(1, 100, 100) - 1,
    "empty_batch": lambda: np.zeros((0, 2, 96, 96), np.float32),
}


@cache
def frames_of(name: str) -> np.ndarray:
    return SAMPLES[name]()


MAPS = ("luma", "gradient", "detail", "difference")


@cache
def truth_of(name: str, of: str = "luma") -> np.ndarray:
    return scene_statistics.reference(frames_of(name), of=of)


@cache
def tolerance_of(name: str, of: str = "luma") -> np.ndarray:
    """At most `RATIO` times what plain float32 loses in the same kind of stage, and a few roundings.

    Plain float32 loses the contrast of flat regions to cancellation, which is no excuse: `CAP` holds anyway.
    """
    truth = truth_of(name, of)
    lost = np.abs(evaluate(frames_of(name), np.float32, of) - truth)
    scale = 1 + np.abs(truth)
    if of != "luma":
        # A map is rounded itself, so a channel that should not deviate does, by the rounding of its mean.
        for means, deviations in zip(GROUPS[::2], GROUPS[1::2], strict=True):
            scale[:, deviations] = np.maximum(scale[:, deviations], scale[:, means])
    allowed = np.empty_like(truth)
    scales = 2 * sum(STAGES[:4])
    for part in (slice(0, scales), *GROUPS[8:]):
        allowed[:, part] = RATIO * lost[:, part].max(initial=0) + FLOOR * scale[:, part]
    return np.minimum(allowed, CAP * scale)
