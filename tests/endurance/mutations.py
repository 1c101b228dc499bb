"""10,000 damaged files through a batch: every one has its record, and nothing is left behind."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.endurance import media
from tests.endurance.report import machine, write

from vqafast.farm.batch import BatchOptions, run_batch
from vqafast.farm.record import Record
from vqafast.scoring.crew.memory import resident


def children() -> list[str]:
    """Processes of ours that are still there."""
    done = subprocess.run(["ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "vqafast.scoring.crew.worker" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    by: dict[str, Counter[str]] = {}
    rss = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "whole").mkdir()
        whole = media.make(root / "whole")
        names, ways = list(whole), list(media.MUTATIONS)
        with (root / "list.jsonl").open("w") as manifest:
            for i in range(options.count):
                name, way = names[i % len(names)], ways[i // len(names) % len(ways)]
                damaged = media.MUTATIONS[way](whole[name], rng, list(whole.values()))
                (root / f"{i:05}_{name}").write_bytes(damaged)
                manifest.write(json.dumps({"path": f"{i:05}_{name}", "way": way, "kind": name}) + "\n")
        begun = time.monotonic()

        def on_record(record: Record) -> None:
            by.setdefault(record.extra["way"], Counter())[record.code or "scored"] += 1
            if sum(map(Counter.total, by.values())) % 100 == 0:
                rss.append(resident(os.getpid()) or 0)
                print(sum(map(Counter.total, by.values())), f"{time.monotonic() - begun:.0f} s", flush=True)

        summary = run_batch(
            [str(root / "list.jsonl")], root / "results.jsonl",
            BatchOptions(workers=options.workers, timeout=30.0, memory=2 << 30), on_record=on_record,
        )  # fmt: skip
        lines = (root / "results.jsonl").read_text(encoding="utf-8").splitlines()
        records = [Record.from_json(line) for line in lines]
        paths = {r.path for r in records}
        odd = [f"{r.extra['way']} {Path(r.path).name}: {r.code}: {r.message}" for r in records
               if r.code in ("internal", "worker_died", "timeout", "memory_limit")]  # fmt: skip
    codes = sorted({code for counter in by.values() for code in counter})
    complete = len(records) == len(paths) == options.count
    left = children()
    text = [
        "# Damaged files",
        "",
        f"`python -m tests.endurance.mutations --count {options.count} --seed {options.seed}`, {machine()}.",
        f"{len(whole)} files of as many containers and codecs, each damaged in {len(ways)} ways "
        "(`tests/endurance/media.py`).",
        "",
        f"- records: {len(records)} for {options.count} files, each path once: {'yes' if complete else 'NO'}",
        f"- {summary.seconds:.0f} s; workers started: {summary.workers}; left behind: {len(left)}",
        f"- memory of the process that leads them: {min(rss) / 1e6:.0f} to {max(rss) / 1e6:.0f} MB"
        if rss
        else "",
        "",
        "| damage | " + " | ".join(codes) + " |",
        "|--|" + "--|" * len(codes),
        *(f"| {way} | " + " | ".join(str(counter[c]) for c in codes) + " |" for way, counter in by.items()),
        "",
    ]
    if odd:
        text += ["Files that cost a worker, or show a fault of ours:", ""]
        text += [*(f"- `{line[:200]}`" for line in odd[:30]), ""]
    write(options.out / "mutations.md", text)
    sys.exit(not complete or bool(left))


if __name__ == "__main__":
    main()
