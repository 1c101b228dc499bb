"""Batches against a plain loop: ``python benchmarks/bench_batch.py --clip CLIP --out results``.

CLIP is cut into short clips at 720p. In every round, interleaved, they are scored by a plain loop over one
warm `Scorer` (all threads, and one thread), and by `run_batch` with workers and threads in several shares.
Rates of a batch are those from its first record to its last; what its processes take to start and end stands
apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import describe

import vqafast
from vqafast.farm.batch import BatchOptions, run_batch
from vqafast.training.synthesis import ffmpeg

if TYPE_CHECKING:
    from vqafast.farm.record import Record

SHARES = ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1))


def make(source: Path, count: int, seconds: float, folder: Path) -> list[Path]:
    made = []
    for i in range(count):
        path = folder / f"{i:03}.mp4"
        cut = ["-stream_loop", "-1", "-ss", f"{0.3 * i:.2f}", "-t", str(seconds), "-i", str(source), "-an"]
        look = ["-vf", "scale=1280:720:flags=bicubic,setsar=1,fps=30,format=yuv420p", "-c:v", "libx264"]
        ffmpeg.run([*cut, *look, "-preset", "veryfast", "-crf", str(18 + i % 20), str(path)], timeout=600)
        made.append(path)
    return made


def loop(paths: list[Path], threads: int) -> float:
    scorer = vqafast.Scorer(threads=threads)
    scorer.score(paths[0])
    begun = time.perf_counter()
    for path in paths:
        scorer.score(path)
    return time.perf_counter() - begun


def batch(folder: Path, workers: int, threads: int, out: Path) -> dict[str, float]:
    at: list[float] = []
    records: list[Record] = []

    def on_record(record: Record) -> None:
        at.append(time.perf_counter())
        records.append(record)

    begun = time.perf_counter()
    options = BatchOptions(workers=workers, scorer={"threads": threads})
    run_batch([str(folder)], out, options, fresh=True, on_record=on_record)
    whole = time.perf_counter() - begun
    warm = at[-1] - at[0]
    seconds = sum(r.seconds for r in records)
    work = sum(r.stages["decode"] + r.stages["backbone"] + r.stages["head"] for r in records)
    return {
        "whole_s": whole,
        "warm_files_per_s": (len(at) - 1) / warm,
        "between": 1 - sum(r.stages["total"] for r in records) / seconds,
        "work": work / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    machine = describe()
    loops: dict[int, list[float]] = {0: [], 1: []}
    batches: dict[tuple[int, int], list[dict[str, float]]] = {share: [] for share in SHARES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "media"
        folder.mkdir()
        paths = make(options.clip, options.count, options.seconds, folder)
        for _ in range(options.rounds):
            for threads, seconds in loops.items():
                seconds.append(loop(paths, threads))
            for share, found in batches.items():
                found.append(batch(folder, *share, Path(name) / "out.jsonl"))
    best = options.count / statistics.median(loops[0])
    lines = [
        "# Batches",
        "",
        f"{options.count} clips of {options.seconds:g} s, 720p H.264; medians of {options.rounds} "
        f"interleaved rounds. {machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}. "
        "Shares are of the time from a worker's word that it begins to its answer: "
        "decoding and network overlap; what lies outside of scoring is pipe and pickling.",
        "",
        "| | files/s | against the loop | start and end, s | decoding and network | outside of scoring |",
        "|--|--|--|--|--|--|",
        f"| plain loop, {machine['cores']} threads | {best:.2f} | 1 | | | |",
        f"| plain loop, 1 thread | {options.count / statistics.median(loops[1]):.2f} | "
        f"{options.count / statistics.median(loops[1]) / best:.2f} | | | |",
    ]
    rows: list[dict[str, Any]] = []
    for (workers, threads), found in batches.items():
        rate = statistics.median(f["warm_files_per_s"] for f in found)
        extra = statistics.median(f["whole_s"] - options.count / f["warm_files_per_s"] for f in found)
        between, work = (statistics.median(f[n] for f in found) for n in ("between", "work"))
        rows.append({"workers": workers, "threads": threads, "rounds": found})
        lines.append(
            f"| batch, {workers} worker{'s' * (workers > 1)} of {threads} | {rate:.2f} | {rate / best:.2f} | "
            f"{extra:.1f} | {100 * work:.0f} % | {100 * between:.1f} % |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "batch.md").write_text(text, encoding="utf-8")
    report = {"machine": machine, "loops": {str(t): s for t, s in loops.items()}, "batches": rows}
    (options.out / "batch.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
