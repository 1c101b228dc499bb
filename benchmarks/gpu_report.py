"""Time every op on one CUDA GPU against the same expression in plain torch, and scoring with them.

    python benchmarks/gpu_report.py [--op NAME ...] [--case TEXT] [--rounds 25] [--out DIR] [--commit HASH]
    python benchmarks/gpu_report.py --clips FOLDER --out DIR [--budget 500]

Times of ops are device time, after checking that the op is right. Calls of an op, one on each of several
input sets, are captured once in a CUDA graph, and a replay is timed with events while the queue holds it
back, so that neither Python nor launches from the host count; the time of one call is the replay's over the
number of calls. Cases that move `LARGE` bytes or more rotate among enough input sets to fill the L2 cache
three times, so that they are read from memory. Smaller ones run `SMALL_CALLS` times on one set, from the
cache: their time is a latency, and no bandwidth is given. The plain expression (of a backward pass:
autograd's part alone) is timed in the same way, a round of one after a round of the other; TF32 is off.
Medians of the rounds; the ratio plain / fused of the medians stands with the 10th and 90th percentile of the
rounds' ratios.

GB/s counts the fewest bytes that the op must move (each input read once, each output written once), "of copy"
is its share of what a device-to-device copy of 2 GiB reaches here. A side that cannot be captured is launched
from Python instead and marked with *; such a row has no ratio. gpu_cases.py says what is timed and how it is
verified, gpu_kernels.py times it.

With `--clips` the files of that folder are scored afterwards; see gpu_pipeline.py, which also makes such a
folder. The kernels may then take `KERNELS_SHARE` of the time at most, and the files get what they leave.

Cases and files run in a second process: one that dies, or takes too long, costs its own row only. Results are
written after each, to gpu_kernels.json and .md, or gpu_report.json and .md with both. `--budget` is for the
whole run, in seconds. Builds nothing, and needs no network. Exits with 1 if a case or a file failed or was
not reached, or the folder is empty. `--device cpu` checks this script, with small cases; its times mean
nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _machine import describe
from gpu_pipeline import add_plan, planned
from gpu_supervise import Record, started, succeeded, supervise
from gpu_tables import markdown

KERNELS_SHARE = 0.35


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", nargs="*", help="only these ops")
    parser.add_argument("--case", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=25, help="of each case")
    parser.add_argument("--clips", type=Path, help="score the *.mp4 of this folder too")
    add_plan(parser)
    parser.add_argument("--file-rounds", type=int, default=3, help="of each file, at most")
    parser.add_argument("--budget", type=float, help="seconds for everything; 75, or 500 with --clips")
    parser.add_argument("--out", type=Path, help="folder that receives the results")
    parser.add_argument("--commit", help="for a copy of the tree without its history")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: check this script")
    options = parser.parse_args()
    budget = options.budget or (75.0 if options.clips is None else 500.0)
    machine = describe()
    machine["commit"] = options.commit or machine["commit"]
    context = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": machine["commit"] or "unknown",
        "rounds": options.rounds,
        "device": options.device,
        "ops": options.op,
        "case": options.case,
        "command": " ".join(["python", "benchmarks/gpu_report.py", *sys.argv[1:]]),
    }
    kernels: dict[str, Any] = {"context": context, **started()}
    kernels["progress"]["uncaptured"] = []
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        record = Record(out / "gpu_kernels.json", kernels)
        if options.clips is not None:
            files = planned(options.clips, options, options.file_rounds)
            state = {"machine": machine, "kernels": kernels, "pipeline": files}
            record = Record(out / "gpu_report.json", state)
        record.save()
        share = budget if options.clips is None else budget * KERNELS_SHARE
        record = supervise(record.path, "kernels", "gpu_kernels.py", share)
        if options.clips is not None and record.part("pipeline")["plan"]["files"]:
            left = budget - (time.monotonic() - begun)
            record = supervise(record.path, "pipeline", "gpu_pipeline.py", left)
        print(markdown(record.state), flush=True)
    parts = ["kernels"] if options.clips is None else ["kernels", "pipeline"]
    return 0 if all(succeeded(record.part(part)) for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
