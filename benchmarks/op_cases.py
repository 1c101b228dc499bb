"""What bench_ops.py times: one list, each case with its inputs, its check and what it is compared with."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks._case import Case, Variants
from benchmarks.op_cases_video import fragment_case, ingest_case, luma_case
from tests.ops.samples_statistics import texture

from vqafast.ops import cgin, hysteresis_pool, moment_pool, scene_statistics
from vqafast.ops.scene_statistics import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def worst(result: Any, truth: Any) -> float:
    pairs = zip(result, truth, strict=True) if isinstance(result, tuple) else [(result, truth)]
    return max(float(np.abs(np.asarray(a, np.float64) - b).max()) for a, b in pairs)


def torch_variant(threads: int, build: Callable[..., Callable[[], Any]], *arrays: np.ndarray) -> Variants:
    """`build(*tensors, functional)` as the variant "torch"; nothing when torch is not installed."""
    if find_spec("torch") is None:
        return {}
    import torch

    from vqafast.models.a2inet import functional

    call = build(*(torch.from_numpy(array) for array in arrays), functional)

    def run(_: int) -> Any:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode():
            return call()

    return {"torch": run}


def statistics_case(name: str, pairs: int, height: int, width: int) -> Case:
    frames = texture(pairs, height, width)

    def filter_bank(tensor: Any, functional: Any) -> Callable[[], Any]:
        from vqafast.models.backbones.filter_bank import FilterBank

        bank = FilterBank().eval()
        return lambda: functional.moment_pool(bank(tensor))

    def verify() -> float:
        truth = scene_statistics.reference(frames)
        return float((np.abs(scene_statistics(frames) - truth) / (1 + np.abs(truth))).max())

    def variants(threads: int) -> Variants:
        out = np.empty((pairs, 176), np.float32)
        ours: Variants = {"ours": lambda _: scene_statistics(frames, threads=threads, out=out)}
        # Evaluating the definition in NumPy is no rival: it stands in only where there is no torch.
        others = torch_variant(threads, filter_bank, frames)
        return ours | (others or {"numpy float32": lambda _: evaluate(frames, np.float32)})

    return Case("scene_statistics", name, frames.nbytes, verify, variants)


def moment_case(name: str, shape: tuple[int, ...]) -> Case:
    x = random(*shape)

    def plain(_: int) -> np.ndarray:
        return np.concatenate([x.mean((2, 3)), x.std((2, 3))], axis=1)

    def variants(threads: int) -> Variants:
        ours: Variants = {"ours": lambda _: moment_pool(x, threads=threads), "numpy": plain}
        return ours | torch_variant(threads, lambda t, f: lambda: f.moment_pool([t]), x)

    return Case(
        "moment_pool", name, x.nbytes, lambda: worst(moment_pool(x), moment_pool.reference(x)), variants
    )


def cgin_case(name: str, batch: int, time: int, depth: int) -> Case:
    arrays = [random(batch, time, depth) + i for i in range(6)]

    def plain(_: int) -> np.ndarray:
        halves = []
        for features, gamma, theta in ((arrays[0], *arrays[2:4]), (arrays[1], *arrays[4:6])):
            centred = features - features.mean(1, keepdims=True)
            normal = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + np.float32(1e-5))
            halves.append((gamma + 1) * normal + theta)
        return np.concatenate(halves, axis=2)

    def variants(threads: int) -> Variants:
        ours: Variants = {"ours": lambda _: cgin(*arrays, threads=threads), "numpy": plain}
        return ours | torch_variant(threads, lambda *t: lambda: t[-1].cgin(*t[:-1]), *arrays)

    moved = 8 * arrays[0].nbytes
    return Case("cgin", name, moved, lambda: worst(cgin(*arrays), cgin.reference(*arrays)), variants, 2e-4)


def hysteresis_case(name: str, batch: int, time: int) -> Case:
    q = random(batch, time)

    def plain(_: int) -> Any:
        padded = np.pad(q, ((0, 0), (6, 6)), constant_values=np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=1)
        memory = np.concatenate([q[:, :1], windows[:, :time, :6].min(2)[:, 1:]], axis=1)
        ahead = windows[:, 6:]
        weights = np.exp(np.min(ahead, 2, keepdims=True) - ahead)
        current = (np.where(weights > 0, ahead, 0) * weights).sum(2) / weights.sum(2)
        return (series := (memory + current) / 2).mean(1), series

    def variants(threads: int) -> Variants:
        ours: Variants = {"ours": lambda _: hysteresis_pool(q, threads=threads), "numpy": plain}
        return ours | torch_variant(threads, lambda t, f: lambda: f.hysteresis_pool(t), q)

    return Case(
        "hysteresis_pool",
        name,
        2 * q.nbytes,
        lambda: worst(hysteresis_pool(q), hysteresis_pool.reference(q)),
        variants,
    )


HD, UHD = (1920, 1080), (3840, 2160)
CASES = (
    ingest_case("1080p -> 960x540", HD, (0, 0, 1920, 1080), (540, 960)),
    ingest_case("1080p -> 960x540 float16", HD, (0, 0, 1920, 1080), (540, 960), dtype="float16"),
    ingest_case("1080p -> 256x144", HD, (0, 0, 1920, 1080), (144, 256)),
    ingest_case("2160p -> 960x540", UHD, (0, 0, 3840, 2160), (540, 960)),
    ingest_case("2160p -> 256x144", UHD, (0, 0, 3840, 2160), (144, 256)),
    ingest_case("720p -> 960x540", (1280, 720), (0, 0, 1280, 720), (540, 960)),
    ingest_case("720p -> 256x144", (1280, 720), (0, 0, 1280, 720), (144, 256)),
    ingest_case("1080p, 256 crop, scale 1", HD, (832, 412, 256, 256), (256, 256)),
    ingest_case("1080p, 768 crop, scale 1", HD, (576, 156, 768, 768), (768, 768)),
    luma_case(),
    fragment_case(),
    moment_case("8x256x68x120", (8, 256, 68, 120)),
    moment_case("8x512x17x30", (8, 512, 17, 30)),
    cgin_case("4x128x1024", 4, 128, 1024),
    hysteresis_case("1x128", 1, 128),
    hysteresis_case("64x512", 64, 512),
    statistics_case("15 pairs of 256x256", 15, 256, 256),
    statistics_case("1 pair of 768x768", 1, 768, 768),
)
