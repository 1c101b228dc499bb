"""Time every op against what people use instead of it, after checking that it is right.

    python benchmarks/bench_ops.py [--op NAME ...] [--threads 1 2] [--runs 31] [--out benchmarks/results]

Prints a Markdown table of interleaved runs (ours, theirs, ours, ...) in milliseconds: median of wall time,
median of CPU time (of all threads together), best wall time. On a machine that does other things too, CPU
time at one thread is the figure to compare: a long call is interrupted more than a short one, so wall time
flatters the short one. GB/s counts the bytes of inputs that are read and of outputs, once each, by wall
time. `frame_ingest` is compared with libswscale through PyAV, with the same number of threads on both
sides:

- sws: ``VideoReformatter.reformat(..., "rgb24", BILINEAR)``, which antialiases too when it shrinks; the
  result is uint8 RGB.
- sws accurate: the same with FULL_CHR_H_INT and ACCURATE_RND: chroma interpolated, as frame_ingest does.
- sws + numpy: sws, to_ndarray, and a float32 NCHW normalisation in NumPy: what frame_ingest replaces.

The other ops are compared with NumPy in float32 and, where torch is installed, with the project's own torch
modules (`models.a2inet.functional`; for `scene_statistics` the whole `FilterBank`, then its moment_pool).
Where it is not, `scene_statistics` is timed against its definition in NumPy float32. With 2 threads or more
torch needs a machine that does nothing else: its threads wait for each other after every operator, and one
that has lost its core to another process multiplies the time, CPU time included.

A row stops early, after MIN_ROUNDS rounds, when it has taken ROW_SECONDS: `rounds` in the JSON says how many
it had.

At scale 1 plain sws takes a special path that repeats chroma samples instead of interpolating them, and it
is given a frame that has been cut to the crop beforehand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import describe  # noqa: E402
from benchmarks.op_cases import CASES  # noqa: E402

from vqafast import _core  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks._case import Case

MIN_ROUNDS = 5
ROW_SECONDS = 6.0
Timings = dict[str, list[tuple[float, float]]]


def time_interleaved(variants: dict[str, Callable[[int], Any]], runs: int) -> Timings:
    """Wall and CPU milliseconds of each run of each variant. A variant is given the run's number."""
    for run in variants.values():
        run(0)
    timings: Timings = {name: [] for name in variants}
    started = time.perf_counter()
    for i in range(runs):
        if i >= MIN_ROUNDS and time.perf_counter() - started > ROW_SECONDS:
            break
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run(i)
            cpu_ms = (time.process_time() - cpu) * 1e3
            timings[name].append(((time.perf_counter() - wall) * 1e3, cpu_ms))
    return timings


def measure(case: Case, threads: int, runs: int) -> dict[str, Any]:
    timings = time_interleaved(case.variants(threads), runs)
    wall = {name: statistics.median(w for w, _ in values) for name, values in timings.items()}
    cpu = {name: statistics.median(c for _, c in values) for name, values in timings.items()}
    return {
        "op": case.op,
        "case": case.name,
        "threads": threads,
        "bytes": case.bytes,
        "rounds": len(timings["ours"]),
        "gb_per_s": case.bytes / wall["ours"] / 1e6,
        "wall_ms": wall,
        "cpu_ms": cpu,
        "best_wall_ms": {name: min(w for w, _ in values) for name, values in timings.items()},
        "speedup_wall": {name: value / wall["ours"] for name, value in wall.items() if name != "ours"},
        "speedup_cpu": {name: value / cpu["ours"] for name, value in cpu.items() if name != "ours"},
    }


def context(runs: int) -> dict[str, Any]:
    import av

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe(),
        "cpu_target": _core.cpu_target(),
        "build": _core.build_info(),
        "libswscale": ".".join(map(str, av.library_versions["libswscale"])),
        "runs": runs,
        "command": " ".join(["python", "benchmarks/bench_ops.py", *sys.argv[1:]]),
    }


def row(result: dict[str, Any]) -> str:
    def times(name: str) -> str:
        return " / ".join(f"{result[kind][name]:.3f}" for kind in ("wall_ms", "cpu_ms", "best_wall_ms"))

    others = "<br>".join(
        f"{name} {times(name)}: **{ratio:.2f}x** wall, **{result['speedup_cpu'][name]:.2f}x** CPU"
        for name, ratio in result["speedup_wall"].items()
    )
    head = f"| {result['op']} | {result['case']} | {result['threads']} "
    return f"{head}| {times('ours')} | {result['gb_per_s']:.1f} | {others} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", nargs="*", help="only these ops")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--out", type=Path, help="folder that receives ops.json and ops.md")
    options = parser.parse_args()
    about = context(options.runs)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    shown = ("cpu", "cores", "cpu_target", "commit", "modified", "date", "load_before", "runs", "command")
    say(", ".join(f"{key} {about[key]}" for key in shown))
    say("\n| op | case | threads | ours: wall / CPU / best wall, ms | GB/s | others; ratio to ours |")
    say("|---|---|---|---|---|---|")
    results = []
    for case in CASES:
        if (options.op and case.op not in options.op) or (options.case and options.case not in case.name):
            continue
        worst = case.verify()
        if not worst <= case.tolerance:
            sys.exit(f"{case.op}, {case.name}: error must be <= {case.tolerance}, got {worst:.3g}")
        for threads in options.threads:
            result = measure(case, threads, options.runs) | {"error": worst}
            results.append(result)
            say(row(result))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        record = json.dumps({"context": about, "results": results}, indent=1)
        (options.out / "ops.json").write_text(record + "\n", encoding="utf-8")
        (options.out / "ops.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
