"""10,000 scores in one process: resident memory along the way, its slope, and a plot."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from tests.endurance import media
from tests.endurance.report import machine, write

import vqafast
from vqafast.errors import VqafastError
from vqafast.scoring.crew.memory import resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    every = max(1, options.count // 200)
    at, memory, failures = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        media.make(root)
        (root / "broken.mp4").write_bytes((root / "h264.mp4").read_bytes()[:1500])
        paths = sorted(p for p in root.iterdir())
        scorer = vqafast.Scorer(threads=1)
        begun = time.monotonic()
        for i in range(options.count):
            try:
                scorer.score(paths[i % len(paths)])
            except VqafastError:
                failures += 1
            if (i + 1) % every == 0:
                at.append(i + 1)
                memory.append((resident(os.getpid()) or 0) / 1e6)
                if len(at) % 20 == 0:
                    print(i + 1, f"{memory[-1]:.0f} MB, {time.monotonic() - begun:.0f} s", flush=True)
    seconds = time.monotonic() - begun
    later = slice(len(at) // 10, None)
    slope = float(np.polyfit(at[later], memory[later], 1)[0]) * 1000
    plot(at, memory, options.out / "rss.png")
    write(
        options.out / "rss.md",
        [
            "# Memory over many scores",
            "",
            f"`python -m tests.endurance.scores --count {options.count}`, {machine()}.",
            "",
            f"{options.count} scores of {len(paths)} files of other codecs and containers in turn, one of "
            f"them broken ({failures} errors), with one `Scorer` in one process, {seconds:.0f} s.",
            "",
            f"Resident memory: {memory[0]:.0f} MB after {at[0]} scores, {memory[-1]:.0f} MB at the end, "
            f"{max(memory):.0f} MB at most; slope behind the first tenth {slope:+.3f} MB per 1,000 scores.",
            "",
            "![memory](rss.png)",
        ],
    )


def plot(at: list[int], memory: list[float], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(at, memory)
    axes.set(xlabel="scores", ylabel="resident memory, MB", ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
