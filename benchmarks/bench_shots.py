"""Cuts that `window="shot"` finds in films put together from other videos, and what looking for them costs.

``python benchmarks/bench_shots.py FOLDER --out benchmarks/results/shots.md`` reads the videos of a folder.
Odd and even ones (in order of name) make two sets of films: the detector's constants were chosen looking at
the even set alone. A video of the folder may have cuts of its own, which count as other places.
Where PySceneDetect is installed, its detectors see the same films.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import av

import vqafast
from vqafast.video import open_source
from vqafast.video.sampling import TimeGrid
from vqafast.video.shots import ShotDetector

FPS, WIDE, HIGH, PIECES, FILMS = 25, 640, 360, 6, 12
# Seconds. What no sample needs is not decoded: a cut that has no key frame is known that well.
TOLERANCE = 0.3


def pictures(path: Path, count: int, rng: random.Random) -> list[Any]:
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found.append(frame.reformat(WIDE, HIGH, "yuv420p").to_ndarray())
            if len(found) >= 150:
                break
    count = min(count, len(found))
    start = rng.randrange(len(found) - count + 1)
    return found[start : start + count]


def film(path: Path, sources: list[Path], seed: int) -> list[float]:
    """Write pieces of `sources` one after the other; give the times of the cuts."""
    rng = random.Random(seed)
    shots = [pictures(p, rng.randrange(20, 110), rng) for p in rng.sample(sources, PIECES)]
    options = {
        "crf": str(rng.choice([20, 28, 36, 42])), "preset": "veryfast", "g": str(rng.choice([48, 250])),
        "sc_threshold": "0" if seed % 2 else "40",
    }  # fmt: skip
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDE, HIGH, "yuv420p", options
        for shot in shots:
            for picture in shot:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
        out.mux(stream.encode(None))
    lengths = [len(shot) for shot in shots]
    return [sum(lengths[:i]) / FPS for i in range(1, PIECES)]


def ours(path: Path) -> list[float]:
    with open_source(path) as source:
        source.marks.shots = detector = ShotDetector()
        for _ in source.frames(TimeGrid(2, burst=2)):
            pass
    return list(detector.cuts(source.marks.keys or ()))


def detectors() -> dict[str, Any]:
    found: dict[str, Any] = {"vqafast": ours}
    try:
        import scenedetect
    except ImportError:
        return found
    for name in ("AdaptiveDetector", "ContentDetector", "HistogramDetector"):
        kind = getattr(scenedetect, name)
        found[f"PySceneDetect {scenedetect.__version__} {name}"] = lambda path, kind=kind: [
            scene[0].seconds for scene in scenedetect.detect(str(path), kind(min_scene_len=8))
        ][1:]
    return found


def matched(found: list[float], cuts: list[float]) -> tuple[int, int]:
    """Cuts that were found, and those found that are none of `cuts`."""
    left, right = list(found), 0
    for cut in cuts:
        near = [t for t in left if abs(t - cut) <= TOLERANCE]
        if near:
            right += 1
            left.remove(min(near, key=lambda t: abs(t - cut)))
    return right, len(left)


def cost(path: Path, runs: int) -> float:
    """Seconds of a score with shots over one without, medians of runs taken in turns."""
    scorer = vqafast.Scorer()
    taken: dict[Any, list[float]] = {None: [], "shot": []}
    for _ in range(runs + 1):
        for window, times in taken.items():
            begun = time.perf_counter()
            scorer.assess(path, window=window)
            times.append(time.perf_counter() - begun)
    plain, shots = (statistics.median(times[1:]) for times in taken.values())
    return shots / plain


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--runs", type=int, default=7)
    arguments.add_argument("--cost", type=Path, nargs="*", default=[], help="Videos to time.")
    asked = arguments.parse_args()
    sources = sorted(asked.folder.glob("*.mp4"))
    rows = ["| set | detector | cuts found | other places |", "|--|--|--|--|"]
    with tempfile.TemporaryDirectory() as folder:
        for part, name in ((0, "even"), (1, "odd")):
            films = {}
            for number in range(FILMS):
                path = Path(folder) / f"{part}-{number}.mp4"
                films[path] = film(path, sources[part::2], 100 * part + number)
            for label, find in detectors().items():
                pairs = [matched(find(path), cuts) for path, cuts in films.items()]
                right, other = (sum(column) for column in zip(*pairs, strict=True))
                rows.append(f"| {name} | {label} | {right} of {FILMS * (PIECES - 1)} | {other} |")
    text = "\n".join(rows) + "\n"
    if asked.cost:
        text += "\n| video | time of a score with shots over one without |\n|--|--|\n"
        text += "".join(f"| {path.name} | {cost(path, asked.runs):.2f} |\n" for path in asked.cost)
    print(text)
    if asked.out is not None:
        asked.out.write_text(
            f'# Cuts found by `window="shot"`\n\n`{Path(__file__).name}`, {len(sources)} videos, vqafast '
            f"{vqafast.__version__}; a cut counts as found within {TOLERANCE} s.\n\n{text}"
        )


if __name__ == "__main__":
    main()
