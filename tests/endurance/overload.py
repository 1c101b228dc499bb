"""The service asked for twice what it can do, with ``hey``: answers, latencies and memory."""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from tests import clips
from tests.endurance.report import machine, write
from tests.farm.served import Server, serving

from vqafast.scoring.crew.memory import resident

WORKERS, QUEUE, CLIENTS, GROUPS = 2, 16, 96, 24


def hey(url: str, seconds: int, clients: int, rate: float | None = None) -> dict[int, list[float]]:
    """Seconds that answers took, by HTTP status; 0 is no answer.

    With a `rate`, requests/s in all, a few clients each belong to one of many `hey`, begun one after the
    other: those of one send all at the same moment.
    """
    groups = 1 if rate is None else GROUPS
    each = clients // groups
    limit = [] if rate is None else ["-q", f"{rate / clients:.4f}"]
    command = ["hey", "-z", f"{seconds}s", "-c", str(each), *limit, "-t", "60", "-o", "csv", url]
    processes = []
    for _ in range(groups):
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        time.sleep(0 if rate is None else clients / rate / groups)
    found: dict[int, list[float]] = defaultdict(list)
    for process in processes:
        for row in csv.DictReader(process.communicate()[0].splitlines()):
            found[int(row["status-code"])].append(float(row["response-time"]))
    return found


class Watch:
    """Memory of a server and of its workers, every two seconds."""

    def __init__(self, server: Server) -> None:
        self.rows: list[tuple[float, float, float]] = []
        self._server, self._end = server, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        begun = time.monotonic()
        while not self._end.wait(2):
            workers = sum(resident(pid) or 0 for pid in self._server.workers())
            parent = resident(self._server.process.pid) or 0
            self.rows.append((time.monotonic() - begun, parent / 1e6, workers / 1e6))

    def flat(self, column: int) -> str:
        """First tenth, last tenth and the highest."""
        values = [row[column] for row in self.rows]
        tenth = max(1, len(values) // 10)
        first, last = statistics.mean(values[:tenth]), statistics.mean(values[-tenth:])
        return f"{first:.0f} | {last:.0f} | {max(values):.0f}"


def quantiles(seconds: list[float]) -> str:
    """50th, 95th, 99th percentile and the longest, in ms."""
    ordered = sorted(seconds)
    return " | ".join(
        f"{1000 * ordered[min(len(ordered) - 1, int(p * len(ordered)))]:.0f}" for p in (0.5, 0.95, 0.99, 1.0)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--clip", type=Path, help="Video to score; a generated one of 5 s at 360p by default."
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "media"
        root.mkdir()
        if options.clip is None:
            clips.encode(root / "clip.mp4", clips.Clip(frames=120, width=640, height=360))
        else:
            shutil.copy(options.clip, root / "clip.mp4")
        with serving(root, "--workers", WORKERS, "--queue", QUEUE, "--quiet") as server:
            url = f"http://127.0.0.1:{server.port}/score?path=clip.mp4"
            hey(url, 5, WORKERS)
            capacity = len(hey(url, 20, WORKERS + QUEUE)[200]) / 20
            seconds = int(60 * options.minutes)
            with Watch(server) as watch:
                found = hey(url, seconds, CLIENTS, 2 * capacity)
            after = server.get("/score", path="clip.mp4").status_code
            started = server.metric("vqafast_workers_started")
            alive = server.process.poll() is None
    asked = sum(map(len, found.values()))
    good = alive and after == 200 and started == WORKERS and set(found) == {200, 429}
    write(
        options.out / "overload.md",
        [
            "# The service at twice its capacity",
            "",
            f"`python -m tests.endurance.overload --minutes {options.minutes:g}`, {machine()}.",
            "",
            f"`vqafast serve --workers {WORKERS} --queue {QUEUE} --threads 1`; "
            f"{'a generated 5 s clip at 360p' if options.clip is None else options.clip.name}. Capacity, "
            f"with as many clients as there are places: {capacity:.1f} scores/s. Then {CLIENTS} clients of "
            f"`hey` with {2 * capacity:.1f} requests/s for {seconds} s: {asked} requests, "
            f"{asked / seconds:.1f}/s, of which {len(found[200]) / seconds:.1f}/s were scored. hey runs on "
            "the same cores.",
            "",
            "| answer | count | median, ms | 95 % | 99 % | longest |",
            "|--|--|--|--|--|--|",
            *(f"| {status} | {len(times)} | {quantiles(times)} |" for status, times in sorted(found.items())),
            "",
            "| resident memory, MB | first tenth | last tenth | most |",
            "|--|--|--|--|",
            f"| service | {watch.flat(1)} |",
            f"| both workers | {watch.flat(2)} |",
            "",
            f"Afterwards: running {'yes' if alive else 'NO'}, a score is answered with {after}, "
            f"workers started in all {started:.0f}.",
        ],
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
