"""Batches that get SIGTERM, SIGINT and SIGKILL at random moments, themselves and their workers."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.endurance.kills import batch, content, make
from tests.endurance.report import machine, write
from tests.farm.served import children

# Status of a batch that ends by itself: all scored, or some cannot be.
DONE = (0, 25)
# Killed by the signal itself: it came before Python had begun with the program.
STATUS = {"SIGTERM": (143, -15, *DONE), "SIGINT": (130, -2, *DONE), "SIGKILL": (-9, *DONE)}


def run(root: Path, out: Path, rng: random.Random, seconds: float, sent: Counter[str]) -> list[str]:
    """One batch to its end, by as many starts as it takes; give what was not right."""
    wrong = []
    for _ in range(200):
        process = subprocess.Popen(batch(root, out), stderr=subprocess.DEVNULL)
        name = rng.choice(["SIGTERM", "SIGINT", "SIGKILL", "worker", "worker"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.7) * seconds)
        if process.poll() is None:
            sent[name] += 1
            if name == "worker":
                workers = children(process.pid)
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
            else:
                process.send_signal(getattr(signal, name))
        status = process.wait(120)
        if status not in STATUS.get(name, DONE):
            wrong.append(f"{name}: exit status {status}")
        if status in DONE:
            return wrong
    return [*wrong, "no end"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    sent: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "media"
        root.mkdir()
        make(root, options.count, None, rng)
        count = sum(p.is_file() for p in root.iterdir())
        begun = time.monotonic()
        subprocess.run(batch(root, Path(folder) / "whole.jsonl"), check=False)
        seconds = time.monotonic() - begun
        expected = content(Path(folder) / "whole.jsonl")
        for i in range(options.rounds):
            out = Path(folder) / f"{i}.jsonl"
            wrong += run(root, out, rng, seconds, sent)
            got = content(out)
            if got != expected:
                wrong.append(
                    f"round {i}: {len(got)} records, {len(got.items() ^ expected.items()) // 2} differ"
                )
        time.sleep(2)
        found = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True, check=False)
        left = found.stdout.split()
    write(
        options.out / "signals.md",
        [
            "# Signals at random moments",
            "",
            f"`python -m tests.endurance.signals --rounds {options.rounds} --seed {options.seed}`, "
            f"{machine()}.",
            "",
            f"{options.rounds} batches of {count} files, each started again until it came to its end; a "
            f"signal after 0 to {0.7 * seconds:.1f} s of each start.",
            "",
            "| sent | times |",
            "|--|--|",
            *(
                f"| {'SIGKILL to a worker' if name == 'worker' else name} | {n} |"
                for name, n in sorted(sent.items())
            ),
            "",
            "Every batch has the records of an uninterrupted one, digit for digit, and every exit status is "
            f"that of its signal: {'yes' if not wrong else 'NO: ' + '; '.join(wrong[:10])}. "
            f"Processes left: {len(left)}.",
        ],
    )
    sys.exit(bool(wrong or left))


if __name__ == "__main__":
    main()
