"""Cases of the ops that read video planes, against libswscale through PyAV."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from benchmarks._case import Case, Variants
from tests.ops.samples_video import IMAGENET, Picture, picture

from vqafast.ops import fragment_sample, frame_ingest

# Frames that take turns, so that no side finds its whole input in the cache.
FRAMES = 4
ACCURATE = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


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


def luma_case() -> Case:
    """What the default model takes from a frame: 15 crops of luma."""
    from vqafast.video.sampling import patch_grid

    side = 256
    crops = patch_grid(1920, 1080, 5, 3, side)
    options: dict[str, Any] = {"output": "luma", "mean": 0.0, "std": 1.0}

    def verify() -> float:
        frame = frames(1920, 1080, "yuv420p")[0]
        truth = frame_ingest.reference(frame, crops, (side, side), **options)
        return float(np.abs(frame_ingest(frame, crops, (side, side), **options) - truth).max())

    def variants(threads: int) -> Variants:
        ours = frames(1920, 1080, "yuv420p")
        theirs = [as_av(frame, (0, 0, 1920, 1080)) for frame in ours]
        reformatter = VideoReformatter()
        out = np.empty((len(crops), 1, side, side), np.float32)
        floats = np.empty_like(out)

        def sws(i: int) -> None:
            frame = theirs[i % FRAMES]
            # Expands the range on the way, and so clips.
            gray = reformatter.reformat(
                frame, format="gray", threads=threads, dst_color_range="JPEG"
            ).to_ndarray()
            for k, (x, y, w, h) in enumerate(crops):
                np.multiply(gray[y : y + h, x : x + w], np.float32(1 / 255), out=floats[k, 0])

        def plane(i: int) -> None:
            luma = ours[i % FRAMES].planes[0]
            for k, (x, y, w, h) in enumerate(crops):
                np.multiply(luma[y : y + h, x : x + w], np.float32(1 / 219), out=floats[k, 0])
                np.subtract(floats[k, 0], np.float32(16 / 219), out=floats[k, 0])
                np.clip(floats[k, 0], 0, 1, out=floats[k, 0])

        return {
            "ours": lambda i: frame_ingest(
                ours[i % FRAMES], crops, (side, side), threads=threads, out=out, **options
            ),
            "sws gray + numpy": sws,
            "numpy of the Y plane": plane,
        }

    read = len(crops) * side * side
    return Case("frame_ingest", "1080p, 15 luma crops of 256, scale 1", 5 * read, verify, variants)


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
