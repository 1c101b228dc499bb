"""Time every op on one CUDA GPU against the same expression in plain torch, after checking that it is right.

    python benchmarks/gpu_report.py [--op NAME ...] [--case TEXT] [--rounds 25] [--out DIR] [--commit HASH]

Times are device time. Calls of an op, one on each of several input sets, are captured once in a CUDA graph,
and a replay is timed with events while the queue holds it back, so that neither Python nor launches from the
host count; the time of one call is the replay's over the number of calls. Cases that move `LARGE` bytes or
more rotate among enough input sets to fill the L2 cache three times, so that they are read from memory.
Smaller ones run `SMALL_CALLS` times on one set, from the cache: their time is a latency, and no bandwidth is
given. The plain expression (of a backward pass: autograd's part alone) is timed in the same way, a round of
one after a round of the other; TF32 is off. Medians of the rounds; the ratio plain / fused of the medians
stands with the 10th and 90th percentile of the rounds' ratios.

GB/s counts the fewest bytes that the op must move (each input read once, each output written once), "of copy"
is its share of what a device-to-device copy of 2 GiB reaches here. A side that cannot be captured is launched
from Python instead and marked with *. gpu_cases.py says what is timed and how it is verified.

Cases run in a second process: one that dies, or takes more than `CASE_SECONDS`, costs its own row only.
Results are written after every case. `--budget` is for the whole run, in seconds. Exits with 1 if a case
failed or was not reached. `--device cpu` checks this script, with small cases; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from gpu_case import Case

    Replays = dict[str, Callable[[], Any]]

LARGE = 6_000_000
SMALL_CALLS = 16
COPY_BYTES = 1 << 31
COPIES = 11
SPIN_CYCLES = 1_000_000  # about half a millisecond, in which the host queues what is timed
CASE_SECONDS = 15  # on a GPU, where a case takes well under one
AGAIN = 75  # exit status of a worker that must go on in a new process
MESSAGE_LENGTH = 200


class CaptureError(Exception):
    """A CUDA graph could not be made of a side ("fused" or "plain") of a case."""


# The worker


def prepare(calls: list[Callable[[], Any]], device: torch.device, *, graph: bool) -> Callable[[], Any]:
    """Something that makes all `calls` when called: a graph's replay, or the calls one by one."""
    import torch

    if device.type == "cpu":
        return lambda: [call() for call in calls]
    # Warmed up where it is captured; autograd runs a backward pass on the stream of its forward pass.
    for call in calls:
        call()
    torch.cuda.synchronize()
    if not graph:
        return lambda: [call() for call in calls]
    captured = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(captured, stream=torch.cuda.current_stream()):
            results = [call() for call in calls]  # kept, so that calls write to different memory
    except Exception as error:
        raise CaptureError(message(error)) from error

    def replay(_: Any = results) -> None:
        captured.replay()

    replay()
    torch.cuda.synchronize()
    return replay


def time_rounds(replays: Replays, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each replay, interleaved."""
    import torch

    if device.type == "cpu":
        seconds: dict[str, list[float]] = {name: [] for name in replays}
        for _ in range(rounds):
            for name, replay in replays.items():
                started = time.perf_counter()
                replay()
                seconds[name].append(time.perf_counter() - started)
        return seconds
    events: dict[str, list[Any]] = {name: [] for name in replays}
    for _ in range(rounds):
        for name, replay in replays.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(SPIN_CYCLES)
            start.record()
            replay()
            end.record()
            events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [a.elapsed_time(b) / 1e3 for a, b in pairs] for name, pairs in events.items()}


def measure(case: Case, context: dict[str, Any], rounds: int, uncaptured: set[str]) -> dict[str, Any]:
    """One row; raises what goes wrong with the fused op, notes what goes wrong with the plain expression."""
    import numpy as np
    import torch
    from gpu_case import fused_call, plain_call, verify

    device = torch.device(context["device"])
    # A generator of our own: a capture that fails can leave the default one unusable.
    made = torch.Generator(device).manual_seed(0)
    row: dict[str, Any] = {"op": case.op, "case": case.name, "bytes": case.bytes}
    row["error_of_allowed"] = verify(case, made)
    large = case.bytes >= LARGE
    sets = max(2, -(-3 * context["l2_bytes"] // case.bytes)) if large else 1
    inputs = [case.make(made) for _ in range(sets)]
    repeats = 1 if large else SMALL_CALLS
    replays: Replays = {}
    for side, call in (("fused", fused_call), ("plain", plain_call)):
        key = f"{case.op} {side}"
        try:
            calls = [call(case, given) for given in inputs] * repeats
            replays[side] = prepare(calls, device, graph=key not in uncaptured)
        except CaptureError as error:
            raise CaptureError(f"{key}: {error}") from error
        except Exception as error:
            if side == "fused":
                raise
            row["plain_failed"] = message(error)
    seconds = time_rounds(replays, rounds, device)
    times = {side: np.array(values) / (sets * repeats) for side, values in seconds.items()}
    row |= {"sets": sets, "calls_per_replay": sets * repeats, "rounds": rounds, "latency": not large}
    row["us"] = {side: float(np.median(values)) * 1e6 for side, values in times.items()}
    row["us_p10_p90"] = {side: list(np.percentile(v, [10, 90]) * 1e6) for side, v in times.items()}
    row["uncaptured"] = [side for side in times if f"{case.op} {side}" in uncaptured]
    row["gb_per_s"] = case.bytes / row["us"]["fused"] / 1e3
    row["of_copy"] = row["gb_per_s"] / context["copy_gb_per_s"]
    if "plain" in times:
        row["ratio"] = row["us"]["plain"] / row["us"]["fused"]
        row["ratio_p10_p90"] = list(np.percentile(times["plain"] / times["fused"], [10, 90]))
    return row


def describe(device: torch.device) -> dict[str, Any]:
    """The device, and what a copy reaches on it."""
    import torch

    from vqafast import _core

    about: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "build": _core.build_info(),
    }
    count = COPY_BYTES // 4 if device.type == "cuda" else 1 << 20
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {
            "card": card.name,
            "sm_count": card.multi_processor_count,
            "l2_bytes": int(getattr(card, "L2_cache_size", 0)) or 60 << 20,
            "memory_gib": round(card.total_memory / 2**30, 1),
            "driver": output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "cuda_runtime": torch.version.cuda,
        }
    else:
        about |= {"card": "none: dry run", "sm_count": 0, "l2_bytes": 1 << 20}
    made = torch.Generator(device).manual_seed(0)
    source = torch.randint(1 << 30, (count,), dtype=torch.int32, generator=made, device=device)
    target = torch.empty_like(source)
    copy = partial(target.copy_, source)
    copy()
    seconds = sorted(time_rounds({"copy": copy}, COPIES, device)["copy"])
    about["copy_gb_per_s"] = 2 * 4 * count / seconds[COPIES // 2] / 1e9
    return about


def healthy(device: torch.device) -> bool:
    import torch

    try:
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
    except Exception:
        return False
    return True


def work(options: argparse.Namespace, path: Path) -> int:
    """Run cases from where the file says, until all are done (0) or this process is not to be trusted."""
    import torch
    from gpu_cases import all_cases

    device = torch.device(options.device)
    state = json.loads(path.read_text(encoding="utf-8"))
    context, progress = state["context"], state["progress"]
    if device.type == "cuda":
        torch.cuda.set_device(0)
        torch.cuda.set_stream(torch.cuda.Stream())  # graphs cannot be captured on the default one
    else:
        torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if "card" not in context:
        context |= describe(device)
    cases = [
        case
        for case in all_cases(device)
        if not (options.op and case.op not in options.op) and (options.case or "") in case.name
    ]
    progress["total"] = len(cases)
    for index in range(progress["next"], len(cases)):
        case = cases[index]
        progress["running"] = {"op": case.op, "case": case.name}
        save(path, state)
        if device.type == "cuda":
            signal.alarm(CASE_SECONDS)  # ends the process, which nothing else can while a kernel hangs
        uncaptured = {text.split(":")[0] for text in progress["uncaptured"]}
        try:
            row = measure(case, context, options.rounds, uncaptured)
        except CaptureError as error:
            progress["uncaptured"].append(str(error))
            progress["running"] = None
            save(path, state)
            return AGAIN
        except Exception as error:
            row = progress["running"] | {"failed": message(error)}
        state["results"].append(row)
        progress |= {"next": index + 1, "running": None}
        save(path, state)
        if not healthy(device):
            return AGAIN
    signal.alarm(0)
    return 0


# The parent process


def message(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text[:MESSAGE_LENGTH].replace("|", "/")


def output_of(*command: str) -> str:
    """First line that a program prints; empty without the program."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.splitlines() or [""])[0].strip() if done.returncode == 0 else ""


def save(path: Path, state: dict[str, Any]) -> None:
    """Whole or not at all: a worker may be killed at any time."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def supervise(path: Path, state: dict[str, Any], budget: float) -> dict[str, Any]:
    """Run workers until every case has a row or the time is over."""
    save(path, state)
    deadline = time.monotonic() + budget
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", str(path)]
    while True:
        code: int | None
        try:
            code = subprocess.run(
                command, timeout=max(0.1, deadline - time.monotonic()), check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        state = json.loads(path.read_text(encoding="utf-8"))
        progress = state["progress"]
        if code == 0:
            return state
        running = progress["running"]
        if code not in (AGAIN, None) and running is None:
            sys.exit(f"gpu_report: no case could be started (status {code})")
        if code != AGAIN and running is not None:
            why = f"the time of {budget:g} s was over" if code is None else f"ended with status {code}"
            if code == -signal.SIGALRM:
                why = f"took more than {CASE_SECONDS} s"
            state["results"].append(running | {"failed": why})
            progress |= {"next": progress["next"] + 1, "running": None}
            save(path, state)
        if code is None:
            return state


def line(row: dict[str, Any]) -> str:
    head = f"| {row['op']} | {row['case']} |"
    if "failed" in row:
        return f"{head} failed: {row['failed']} | | | | |"
    marks = {side: "\\*" if side in row["uncaptured"] else "" for side in ("fused", "plain")}
    rates = ("-", "-") if row["latency"] else (f"{row['gb_per_s']:.0f}", f"{100 * row['of_copy']:.0f} %")
    text = f"{head} {row['us']['fused']:.2f}{marks['fused']} | {rates[0]} | {rates[1]} |"
    if "ratio" not in row:
        return f"{text} failed: {row['plain_failed']} | |"
    low, high = row["ratio_p10_p90"]
    ratio = f"**{row['ratio']:.2f}x** ({low:.2f} to {high:.2f})"
    return f"{text} {row['us']['plain']:.2f}{marks['plain']} | {ratio} |"


def report(state: dict[str, Any]) -> str:
    context, progress = state["context"], state["progress"]
    shown = ("card", "driver", "cuda_runtime", "torch", "sm_count", "commit", "date", "rounds", "command")
    about = ", ".join(f"{key} {context[key]}" for key in shown if key in context)
    if "copy_gb_per_s" in context:
        about += f", L2 {context['l2_bytes'] / 2**20:.0f} MiB, copy {context['copy_gb_per_s']:.0f} GB/s"
    notes = [f"\\* without a CUDA graph, launched from Python: {text}" for text in progress["uncaptured"]]
    missing = (progress["total"] or 0) - len(state["results"])
    if missing:
        notes.append(f"{missing} of {progress['total']} cases were not reached.")
    head = (
        "| op | case | us | GB/s | of copy | plain us | ratio (p10 to p90) |\n|---|---|---|---|---|---|---|"
    )
    table = "\n".join([head, *(line(row) for row in state["results"])])
    return "\n\n".join([about, *notes, table])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", nargs="*", help="only these ops")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--budget", type=float, default=75.0, help="seconds that all cases may take")
    parser.add_argument("--out", type=Path, help="folder that receives gpu_kernels.json and gpu_kernels.md")
    parser.add_argument("--commit", help="for a copy of the tree without its history")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: check this script")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options, options.worker)
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        context = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": options.commit or output_of("git", "rev-parse", "--short=12", "HEAD") or "unknown",
            "rounds": options.rounds,
            "device": options.device,
            "command": " ".join(["python", "benchmarks/gpu_report.py", *sys.argv[1:]]),
        }
        progress = {"next": 0, "total": None, "running": None, "uncaptured": []}
        state: dict[str, Any] = {"context": context, "results": [], "progress": progress}
        state = supervise(out / "gpu_kernels.json", state, options.budget)
        text = report(state)
        (out / "gpu_kernels.md").write_text(text + "\n", encoding="utf-8")
        print(text, flush=True)
    results, total = state["results"], state["progress"]["total"]
    whole = bool(results) and len(results) == total
    return 0 if whole and not any("failed" in r or "plain_failed" in r for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
