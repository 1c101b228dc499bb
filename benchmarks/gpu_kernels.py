"""Worker of gpu_report.py that times the ops; see there.

A process that fails to capture a CUDA graph, or in which CUDA fails, is not to be trusted: another goes on.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from _machine import nvidia_smi
from gpu_supervise import AgainError, Record, add_worker, message, run_cases

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


class CaptureError(Exception):
    """A CUDA graph could not be made of a side ("fused" or "plain") of a case."""


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
    if "plain" in times and not row["uncaptured"]:
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
            "driver": nvidia_smi("driver_version"),
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


def work(record: Record) -> int:
    import torch
    from gpu_case import exact_float32
    from gpu_cases import all_cases

    part = record.part("kernels")
    context, progress = part["context"], part["progress"]
    device = torch.device(context["device"])
    if device.type == "cuda":
        torch.cuda.set_device(0)
        torch.cuda.set_stream(torch.cuda.Stream())  # graphs cannot be captured on the default one
    else:
        torch.set_num_threads(1)
    if "card" not in context:
        context |= describe(device)
    chosen = [
        case
        for case in all_cases(device)
        if not (context["ops"] and case.op not in context["ops"]) and (context["case"] or "") in case.name
    ]

    def measured(case: Case) -> dict[str, Any]:
        uncaptured = {text.split(":")[0] for text in progress["uncaptured"]}
        try:
            return measure(case, context, context["rounds"], uncaptured)
        except CaptureError as error:
            progress["uncaptured"].append(str(error))
            raise AgainError from error

    cases = [({"op": case.op, "case": case.name}, partial(measured, case)) for case in chosen]
    seconds = CASE_SECONDS if device.type == "cuda" else 0
    with exact_float32():
        return run_cases(record, "kernels", cases, limit=lambda _: seconds, healthy=partial(healthy, device))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_worker(parser.add_subparsers(required=True))
    sys.exit(work(Record.read(parser.parse_args().path)))
