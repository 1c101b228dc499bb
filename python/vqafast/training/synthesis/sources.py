"""Clean masters: a short segment of a clip, or a pan and zoom over a photo.

A master is shrunk by the source's ``clean_scale`` (most web clips only count as pristine
at 0.4 to 0.8 of their size) and stored losslessly; every version is labelled against it.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av

from vqafast.errors import InvalidArgument
from vqafast.training.synthesis import ffmpeg

if TYPE_CHECKING:
    import random
    from pathlib import Path

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".y4m", ".avi", ".ts"})
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
#: Master areas in pixels: 480x270, 640x360, 854x480 and 1280x720 equivalents, with their odds.
AREAS = ((130_000, 0.36), (230_000, 0.34), (410_000, 0.22), (920_000, 0.08))
#: Crops keep at least this many pixels a side, if the source has them.
MIN_SIDE = 176
PAN_RATE = 25


@dataclass(frozen=True, slots=True)
class Source:
    """One clean file: `kind` is ``"video"`` or ``"image"``, `clean_scale` in (0, 1]."""

    path: Path
    kind: str
    clean_scale: float

    @property
    def name(self) -> str:
        """Stem of the file name; versions are named after it."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Master:
    """A lossless clean clip that versions are made from and labelled against."""

    path: Path
    width: int
    height: int
    frames: int
    rate: float


def find_sources(folder: Path, manifest: Path | None, clean_scale: float) -> list[Source]:
    """Every clip and photo below `folder`, sorted; scales from `manifest` where it names a file.

    `manifest` is a CSV with the columns ``file`` (relative to `folder`) and ``clean_scale``.
    """
    scales: dict[str, float] = {}
    if manifest is not None:
        with manifest.open(newline="", encoding="utf-8") as rows:
            for row in csv.DictReader(rows):
                scales[row["file"]] = float(row["clean_scale"] or clean_scale)
    found = []
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            continue
        kind = "video" if suffix in VIDEO_SUFFIXES else "image"
        scale = scales.get(path.relative_to(folder).as_posix(), clean_scale)
        found.append(Source(path, kind, scale))
    if not found:
        raise InvalidArgument(f"synthesis: --sources must hold clips or photos, found none in {folder}")
    return found


def _fit(width: float, height: float, rng: random.Random) -> tuple[int, int]:
    """Even size of the drawn area with the same shape, never larger than given."""
    area = rng.choices([a for a, _ in AREAS], [w for _, w in AREAS])[0]
    factor = min(1.0, math.sqrt(area / (width * height)))
    return max(64, int(width * factor) // 2 * 2), max(64, int(height * factor) // 2 * 2)


def _probe(path: Path) -> tuple[int, int, float, float]:
    """Width, height, frames per second and duration of the first video stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or PAN_RATE)
        duration = float(container.duration or 0) / 1e6 or stream.frames / rate
        return stream.width, stream.height, rate, duration


def make_master(source: Source, out: Path, frames: int, variant: int, rng: random.Random) -> Master:
    """Write a master of `source` to `out` (FFV1 in Matroska, yuv420p limited range).

    Variant 0 shows the whole clip; the others are more material from the same source: crops, other
    segments, other sizes, double speed, darker or flatter grading. Photos are panned over.
    """
    make = _segment if source.kind == "video" else _pan
    arguments, chain, rate = make(source, frames, variant, rng)
    if variant and rng.random() < 0.3:
        chain += f",eq=gamma={rng.uniform(0.45, 1.3):.3f}:contrast={rng.uniform(0.6, 1.0):.3f}"
    # by index: versions and master pair frame by frame whatever the source's timestamps
    chain += f",setsar=1,setpts=N/({rate:.6f}*TB)"
    coded = ["-an", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-color_range", "tv", "-fps_mode", "passthrough"]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".part.mkv")
    ffmpeg.run([*arguments, "-vf", chain, "-frames:v", str(frames), *coded, str(partial)])
    partial.replace(out)
    return read_master(out, rate)


def read_master(path: Path, rate: float | None = None) -> Master:
    """Size and exact frame count of an existing master."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for packet in container.demux(stream) if packet.size)
        measured = float(stream.average_rate or rate or PAN_RATE)
        return Master(path, stream.width, stream.height, count, measured)


def _segment(source: Source, frames: int, variant: int, rng: random.Random) -> tuple[list[str], str, float]:
    width, height, rate, duration = _probe(source.path)
    rate = min(max(rate, 5.0), 60.0)
    # small clips are cropped less: a picture has to hold a few patches
    least = min(1.0, MIN_SIDE / (min(width, height) * source.clean_scale))
    share = max(least, rng.uniform(0.5, 0.85)) if variant else 1.0
    view_w, view_h = int(width * share) // 2 * 2, int(height * share) // 2 * 2
    x, y = rng.uniform(0, width - view_w), rng.uniform(0, height - view_h)
    out_w, out_h = _fit(view_w * source.clean_scale, view_h * source.clean_scale, rng)
    # double speed where the clip is long enough
    speed = 2 if variant and rng.random() < 0.5 and duration * rate > 2 * frames else 1
    start = max(0.0, duration - speed * frames / rate) * rng.uniform(0.1, 0.9)
    thinned = "" if speed == 1 else "select='not(mod(n,2))',"
    chain = (
        f"{thinned}crop={view_w}:{view_h}:{x:.0f}:{y:.0f},scale={out_w}:{out_h}:flags=lanczos:out_range=tv"
    )
    return ["-ss", f"{start:.3f}", "-i", str(source.path)], chain, rate


def _pan(source: Source, frames: int, variant: int, rng: random.Random) -> tuple[list[str], str, float]:
    width, height, _, _ = _probe(source.path)
    low = max(0.72 if variant == 0 else 0.5, min(0.9, MIN_SIDE / (min(width, height) * source.clean_scale)))
    view_w, view_h = width * rng.uniform(low, 0.9), height * rng.uniform(low, 0.9)
    out_w, out_h = _fit(view_w * source.clean_scale, view_h * source.clean_scale, rng)
    x0, x1 = (rng.uniform(0, width - view_w) for _ in range(2))
    y0, y1 = (rng.uniform(0, height - view_h) for _ in range(2))
    # cap the pan at 2 % of the width a frame: faster than that, nobody sees detail; some stand still
    reach = 0.0 if variant and rng.random() < 0.15 else 0.02 * width * frames
    x1, y1 = x0 + max(-reach, min(reach, x1 - x0)), y0 + max(-reach, min(reach, y1 - y0))
    # pan on a doubled picture so that the motion has sub-pixel steps after shrinking
    phase = f"n/{max(1, frames - 1)}"
    x = f"2*({x0:.2f}+({x1 - x0:.2f})*{phase})"
    y = f"2*({y0:.2f}+({y1 - y0:.2f})*{phase})"
    chain = (
        f"scale=iw*2:ih*2:flags=bicubic,crop={int(view_w) * 2}:{int(view_h) * 2}:'{x}':'{y}',"
        f"scale={out_w}:{out_h}:flags=lanczos:out_range=tv"
    )
    return ["-loop", "1", "-framerate", str(PAN_RATE), "-i", str(source.path)], chain, float(PAN_RATE)
