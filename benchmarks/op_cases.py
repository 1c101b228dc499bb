"""What bench_ops.py times: one list, each case with its inputs, its check and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from tests.ops.samples_video import IMAGENET, Picture, picture

from vqafast.ops import cgin, fragment_sample, frame_ingest, hysteresis_pool, moment_pool

Variants = dict[str, Callable[[int], Any]]
# Frames that take turns, so that no side finds its whole input in the cache.
FRAMES = 4
ACCURATE = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    op: str
    name: str
    bytes: int
    verify: Callable[[], float]  # largest error against the reference
    variants: Callable[[int], Variants]  # by number of threads; "ours" is first
    tolerance: float = 1e-4


@lru_cache(maxsize=2)
def frames(width: int, height: int, layout: str) -> tuple[Picture, ...]:
    return tuple(picture(width, height, layout, seed=i) for i in range(FRAMES))


def as_av(frame: Picture, crop: tuple[int, int, int, int]) -> av.VideoFrame:
    x, y, w, h = crop
    result = av.VideoFrame(w, h, "yuv420p")
    for i, (plane, to) in enumerate(zip(frame.planes, result.planes, strict=True)):
        part = plane[y : y + h, x : x + w] if i == 0 else plane[y // 2 :, x // 2 :][: to.height, : to.width]
        np.frombuffer(to, np.uint8).reshape(to.height, to.line_size)[:, : to.width] = part
    return result


def ingest_case(
    name: str, source: tuple[int, int], crop: tuple[int, int, int, int], size: tuple[int, int], **options: Any
) -> Case:
    crops = np.array([crop], np.int32)
    height, width = size
    normalise = {**IMAGENET, **options}
    itemsize = 2 if options.get("dtype") == "float16" else 4
    scale = (1 / (255 * np.array(IMAGENET["std"], np.float32))).reshape(3, 1, 1)
    offset = (-np.array(IMAGENET["mean"]) / np.array(IMAGENET["std"])).astype(np.float32).reshape(3, 1, 1)

    def verify() -> float:
        frame = frames(*source, "yuv420p")[0]
        truth = frame_ingest.reference(frame, crops, size, **IMAGENET)
        return float(np.abs(frame_ingest(frame, crops, size, **normalise) - truth).max())

    def variants(threads: int) -> Variants:
        ours = frames(*source, "yuv420p")
        theirs = [as_av(frame, crop) for frame in ours]
        reformatters = {flags: VideoReformatter() for flags in ("sws", "accurate", "numpy")}
        out = np.empty((1, 3, height, width), normalise.get("dtype", "float32"))
        floats = np.empty((3, height, width), np.float32)

        def sws(which: str, flags: Any, i: int) -> av.VideoFrame:
            return reformatters[which].reformat(
                theirs[i % FRAMES], width, height, "rgb24", interpolation=flags, threads=threads
            )

        def pipeline(i: int) -> None:
            rgb = sws("numpy", Interpolation.BILINEAR, i).to_ndarray()
            np.multiply(rgb.transpose(2, 0, 1), scale, out=floats, dtype=np.float32)
            np.add(floats, offset, out=floats)

        return {
            "ours": lambda i: frame_ingest(
                ours[i % FRAMES], crops, size, threads=threads, out=out, **normalise
            ),
            "sws": lambda i: sws("sws", Interpolation.BILINEAR, i),
            "sws accurate": lambda i: sws("accurate", ACCURATE, i),
            "sws + numpy": pipeline,
        }

    read = crop[2] * crop[3] * 3 // 2
    tolerance = 5e-3 if itemsize == 2 else 1e-4
    return Case("frame_ingest", name, read + 3 * height * width * itemsize, verify, variants, tolerance)


def fragment_case() -> Case:
    from vqafast.video.sampling import fragment_grid

    positions = fragment_grid(1920, 1080, 7, 32)

    def verify() -> float:
        frame = frames(1920, 1080, "yuv420p")[0]
        truth = fragment_sample.reference(frame, positions, 32, **IMAGENET)
        return float(np.abs(fragment_sample(frame, positions, 32, **IMAGENET) - truth).max())

    def variants(threads: int) -> Variants:
        ours = frames(1920, 1080, "yuv420p")
        theirs = [as_av(frame, (0, 0, 1920, 1080)) for frame in ours]
        reformatter = VideoReformatter()
        out = np.empty((3, 224, 224), np.float32)
        mean, std = (np.array(IMAGENET[k], np.float32) for k in ("mean", "std"))

        def convert_all(i: int) -> np.ndarray:
            rgb = reformatter.reformat(theirs[i % FRAMES], format="rgb24", threads=threads).to_ndarray()
            rows = [
                np.concatenate([rgb[y : y + 32, x : x + 32] for x, y in row], axis=1) for row in positions
            ]
            tiled = np.concatenate(rows)
            return np.ascontiguousarray(((tiled / np.float32(255) - mean) / std).transpose(2, 0, 1))

        return {
            "ours": lambda i: fragment_sample(
                ours[i % FRAMES], positions, 32, threads=threads, out=out, **IMAGENET
            ),
            "sws + numpy": convert_all,
        }

    return Case(
        "fragment_sample", "1080p, 7x7 of 32", 224 * 224 * (3 * 4) + 224 * 224 * 3 // 2, verify, variants
    )


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def worst(result: Any, truth: Any) -> float:
    pairs = zip(result, truth, strict=True) if isinstance(result, tuple) else [(result, truth)]
    return max(float(np.abs(np.asarray(a, np.float64) - b).max()) for a, b in pairs)


def moment_case(name: str, shape: tuple[int, ...]) -> Case:
    x = random(*shape)

    def plain(_: int) -> np.ndarray:
        return np.concatenate([x.mean((2, 3)), x.std((2, 3))], axis=1)

    def variants(threads: int) -> Variants:
        return {"ours": lambda _: moment_pool(x, threads=threads), "numpy": plain}

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
        return {"ours": lambda _: cgin(*arrays, threads=threads), "numpy": plain}

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
        return {"ours": lambda _: hysteresis_pool(q, threads=threads), "numpy": plain}

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
    fragment_case(),
    moment_case("8x256x68x120", (8, 256, 68, 120)),
    moment_case("8x512x17x30", (8, 512, 17, 30)),
    cgin_case("4x128x1024", 4, 128, 1024),
    hysteresis_case("1x128", 1, 128),
    hysteresis_case("64x512", 64, 512),
)
