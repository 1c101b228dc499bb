"""Memory and speed of workers that share a model, against workers that each load it.

``python benchmarks/bench_sharing.py --clip CLIP --model NAME ... --out benchmarks/results/sharing.md``
scores copies of a video with batches of 1, 2 and 4 workers of one thread, in turns.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import describe

import vqafast.scoring.crew.pool as pools
from vqafast.scoring.crew.base import Job
from vqafast.scoring.crew.nursery import can_share
from vqafast.scoring.crew.worker import Task

if TYPE_CHECKING:
    from collections.abc import Iterator


def batch(files: list[Path], model: str, workers: int, share: bool) -> dict[str, Any]:
    """Score `files` once; seconds to the first worker that is ready, files/s from then on, bytes held."""
    pools.can_share = can_share if share else lambda *_: False
    begun, ready = time.monotonic(), 0.0
    most, ended = 0, threading.Event()
    found = []

    def jobs() -> Iterator[Job]:
        nonlocal ready
        ready = time.monotonic()
        yield from (Job(Task(i, str(path))) for i, path in enumerate(files))

    with pools.Pool({"model": model, "threads": 1}, ["cpu"] * workers) as pool:

        def look() -> None:
            nonlocal most
            while not ended.wait(0.2):
                most = max(most, pool.held)

        thread = threading.Thread(target=look)
        thread.start()
        for result in pool.run(jobs()):
            if result is not None:
                assert result.outcome.assessment is not None, result.outcome.error
                found.append(result.outcome.assessment.score)
        end = time.monotonic()
        ended.set()
        thread.join()
    return {"ready": ready - begun, "rate": len(files) / (end - ready), "held": most, "scores": set(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["a2inet-lite"], help="NAME or NAME:FILES")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows, machine = [], describe()
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.model:
            model, _, count = name.partition(":")
            files = [Path(folder) / f"{i}{asked.clip.suffix}" for i in range(int(count or 24))]
            for path in files:
                shutil.copy(asked.clip, path)
            scores: set[float] = set()
            for workers in (1, 2, 4):
                runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
                for _ in range(asked.runs):
                    for share, done in runs.items():
                        if share and workers == 1:
                            continue
                        done.append(batch(files, model, workers, share))
                        scores |= done[-1]["scores"]
                for share, done in runs.items():
                    if done:
                        held, ready, rate = (
                            statistics.median(d[k] for d in done) for k in ("held", "ready", "rate")
                        )
                        rows.append(
                            f"| {model} | {workers} | {'shared' if share else 'own'} | {held / 1e6:.0f} | "
                            f"{ready:.2f} | {rate:.2f} |"
                        )
                        print(rows[-1], flush=True)
            assert len(scores) == 1, scores
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    text = "\n".join(
        [
            "# Workers that share a model",
            "",
            f"`benchmarks/bench_sharing.py`, {asked.clip.name}, medians of {asked.runs} runs taken in turns; "
            f"{machine['cpu']}, {machine['cores']} cores, {versions}, commit {machine['commit']}.",
            "",
            "Memory is the sum over all processes of what is resident, pages that n of them share counted as "
            "a part of n (PSS), at its highest. All scores of a model are equal, bit for bit.",
            "",
            "| model | workers | weights | memory, MB | first worker ready, s | files/s from then |",
            "|--|--|--|--|--|--|",
            *rows,
        ]
    )
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
