"""An hour of everything at once on the service: files, bodies, rubbish, lost clients and workers."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tests.endurance import media
from tests.endurance.overload import Watch, quantiles
from tests.endurance.report import machine, write
from tests.farm.served import Server, serving
from tests.processes import descendants

import vqafast
from vqafast.errors import VqafastError
from vqafast.farm.service.errors import status_of

OUTSIDE = (
    "../secret.mp4",
    "/etc/passwd",
    "link.mp4",
    "a/../../secret.mp4",
    "%2e%2e/secret.mp4",
    "/proc/self/mem",
)
UPLOAD = 2_000_000


class Load:
    """Clients that ask for one thing after the other, and notice every answer that is not right."""

    def __init__(self, server: Server, root: Path, expected: dict[str, float | str], seed: int) -> None:
        self.server, self.root, self.expected = server, root, expected
        self.good = sorted(name for name, value in expected.items() if isinstance(value, float))
        self.bad = sorted(set(expected) - set(self.good))
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self.killed = 0
        self._seed, self._lock = seed, threading.Lock()

    def run(self, clients: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(i, end)) for i in range(clients)]
        threads.append(threading.Thread(target=self._reaper, args=(end,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, end: float) -> None:
        rng = random.Random(1000 * self._seed + number)
        kinds = {
            self.score: 40, self.assess: 12, self.broken: 10, self.upload: 10, self.upload_broken: 3,
            self.upload_large: 2, self.outside: 5, self.leave: 6, self.leave_upload: 3, self.look: 6,
            self.rubbish: 3,
        }  # fmt: skip
        with httpx.Client(base_url=f"http://127.0.0.1:{self.server.port}", timeout=60) as http:
            while time.monotonic() < end:
                kind = rng.choices(list(kinds), list(kinds.values()))[0]
                try:
                    self._note(kind.__name__, kind(http, rng))
                except httpx.HTTPError as error:
                    self._note(kind.__name__, f"WRONG {type(error).__name__} {error}")

    def _note(self, kind: str, answer: str) -> None:
        with self._lock:
            if answer.startswith("WRONG"):
                self.wrong.append(f"{kind}: {answer}")
                answer = "wrong"
            self.answers[kind][answer] += 1

    def _checked(self, answer: Any, name: str) -> str:
        """What was expected, or what may always come instead."""
        code = answer.headers.get("X-Vqafast-Error", "")
        if code in ("busy", "worker_died"):
            return f"{answer.status_code} {code}"
        expected = self.expected[name]
        if isinstance(expected, str):
            right = (answer.status_code, code) == (status_of(expected), expected)
        else:
            right = answer.status_code == 200 and answer.json()["score"] == expected
        return f"{answer.status_code} {code}".strip() if right else f"WRONG {name} {answer.text[:300]}"

    def score(self, http: httpx.Client, rng: random.Random) -> str:
        name = rng.choice(self.good)
        begun = time.monotonic()
        answer = http.get("/score", params={"path": name})
        if answer.status_code == 200:
            self.seconds.append(time.monotonic() - begun)
        return self._checked(answer, name)

    def assess(self, http: httpx.Client, rng: random.Random) -> str:
        name = rng.choice(self.good)
        window = rng.choice(["0.5", "gop", "shot"])
        if name.endswith(".y4m") and window == "gop":
            window = "1"
        return self._checked(http.get("/assess", params={"path": name, "window": window}), name)

    def broken(self, http: httpx.Client, rng: random.Random) -> str:
        name = rng.choice(self.bad)
        return self._checked(http.get("/score", params={"path": name}), name)

    def upload(self, http: httpx.Client, rng: random.Random) -> str:
        name = rng.choice(self.good)
        return self._checked(http.post("/score", content=(self.root / name).read_bytes()), name)

    def upload_broken(self, http: httpx.Client, rng: random.Random) -> str:
        name = rng.choice(self.bad)
        answer = http.post("/assess", content=(self.root / name).read_bytes())
        # A body has no name, and FFmpeg goes by names too: what it says of the file may differ.
        good = answer.status_code in (200, 422, 429, 500)
        code = answer.headers.get("X-Vqafast-Error", "")
        return (
            f"{answer.status_code} {code}" if good and code != "internal" else f"WRONG {name} {answer.text}"
        )

    def upload_large(self, http: httpx.Client, rng: random.Random) -> str:
        body: Any = b"x" * (2 * UPLOAD)
        if rng.random() < 0.5:
            body = iter([b"x" * 100_000] * (2 * UPLOAD // 100_000))
        try:
            answer = http.post("/score", content=body)
        except httpx.HTTPError:
            # The service answers and closes while the body still comes.
            return "closed"
        return str(answer.status_code) if answer.status_code in (413, 429) else f"WRONG {answer.text}"

    def outside(self, http: httpx.Client, rng: random.Random) -> str:
        path = rng.choice(OUTSIDE)
        answer = http.get(f"/score?path={path}")
        return str(answer.status_code) if answer.status_code == 403 else f"WRONG {path} {answer.text}"

    def leave(self, http: httpx.Client, rng: random.Random) -> str:
        del http
        with contextlib.suppress(httpx.TimeoutException):
            url = f"http://127.0.0.1:{self.server.port}/score"
            httpx.get(url, params={"path": rng.choice(self.good)}, timeout=rng.uniform(0.005, 0.1))
        return "left"

    def leave_upload(self, http: httpx.Client, rng: random.Random) -> str:
        del http
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
            connection.sendall(rng.randbytes(rng.randrange(100_000)))
        return "left"

    def look(self, http: httpx.Client, rng: random.Random) -> str:
        answer = http.get(rng.choice(["/healthz", "/metrics", "/openapi.json", "/nowhere"]))
        return str(answer.status_code) if answer.status_code in (200, 404) else f"WRONG {answer.text}"

    def rubbish(self, http: httpx.Client, rng: random.Random) -> str:
        del http
        there = ("127.0.0.1", self.server.port)
        with contextlib.suppress(OSError), socket.create_connection(there) as connection:
            connection.sendall(rng.randbytes(rng.randrange(1, 5000)))
        return "sent"

    def _reaper(self, end: float) -> None:
        """Kill a worker now and then."""
        rng = random.Random(self._seed)
        while time.monotonic() < end - 30:
            time.sleep(rng.uniform(10, 50))
            # The process that holds the model for all workers among them.
            workers = descendants(self.server.process.pid)
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                    self.killed += 1


def make(root: Path, rng: random.Random) -> dict[str, float | str]:
    """Files of every kind and damaged ones; give the score or the code of each."""
    whole = media.make(root)
    for name, data in whole.items():
        (root / name).write_bytes(data)
        for way, mutate in media.MUTATIONS.items():
            (root / f"{way}_{name}").write_bytes(mutate(data, rng, list(whole.values())))
    scorer = vqafast.Scorer(threads=1)
    expected: dict[str, float | str] = {}
    for path in sorted(root.iterdir()):
        try:
            expected[path.name] = scorer.score(path)
        except VqafastError as error:
            expected[path.name] = error.code
    (root.parent / "secret.mp4").write_bytes(whole["h264.mp4"])
    (root / "link.mp4").symlink_to("../secret.mp4")
    (root / "a").mkdir()
    return expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "media"
        root.mkdir()
        expected = make(root, random.Random(options.seed))
        limits = ("--workers", 2, "--queue", 6, "--max-upload", UPLOAD, "--timeout", "30s", "--quiet")
        with serving(root, *limits) as server:
            load = Load(server, root, expected, options.seed)
            with Watch(server) as watch:
                load.run(8, 60 * options.minutes)
            time.sleep(2)
            idle = server.metric("vqafast_waiting") + server.metric("vqafast_under_way")
            open_files = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
            started = server.metric("vqafast_workers_started")
            server.http.close()
            workers = server.workers()
            server.process.send_signal(signal.SIGTERM)
            status = server.wait()
            left = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
            tracebacks = server.log.read_text(errors="replace").count("Traceback")
    rows = np.array(watch.rows)
    later = rows[len(rows) // 10 :]
    slope = float(np.polyfit(later[:, 0] / 3600, later[:, 1], 1)[0])
    plot(rows, options.out / "service.png")
    right = not (load.wrong or idle or status or left or tracebacks) and started >= 2 + load.killed
    names = sorted({answer for counts in load.answers.values() for answer in counts})
    write(
        options.out / "service.md",
        [
            "# Mixed load on the service",
            "",
            f"`python -m tests.endurance.service --minutes {options.minutes:g} --seed {options.seed}`, "
            f"{machine()}.",
            "",
            f"`vqafast serve {' '.join(map(str, limits))} --threads 1`, 8 clients on the same cores, "
            f"{len(expected)} files of {len(media.KINDS) + 1} kinds, {len(load.bad)} cannot be scored. "
            f"{load.killed} times a worker, or the process that they share, was killed (SIGKILL).",
            "",
            f"| asked | {' | '.join(names)} |",
            f"|--|{'--|' * len(names)}",
            *(
                f"| {kind} | {' | '.join(str(counts[n]) if counts[n] else '' for n in names)} |"
                for kind, counts in sorted(load.answers.items())
            ),
            "",
            "A 200 counts only with the score that the library gives, digit for digit, an error only with "
            "its code.",
            f"Wrong answers: {len(load.wrong)}. {' '.join(load.wrong[:5])}",
            "",
            f"Scores of files, ms: median, 95 %, 99 %, longest: {quantiles(load.seconds)}.",
            "",
            "| resident memory, MB | first tenth | last tenth | most |",
            "|--|--|--|--|",
            f"| service | {watch.flat(1)} |",
            f"| workers | {watch.flat(2)} |",
            "",
            f"Slope of the service behind the first tenth: {slope:+.2f} MB an hour.",
            "",
            "![memory](service.png)",
            "",
            f"At the end: requests left {idle:.0f}, open files {open_files}, workers started {started:.0f}, "
            f"tracebacks in the log {tracebacks}; SIGTERM: exit status {status}, workers left {len(left)}.",
        ],
    )
    sys.exit(not right)


def plot(rows: Any, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(rows[:, 0] / 60, rows[:, 1], label="service")
    axes.plot(rows[:, 0] / 60, rows[:, 2], label="workers")
    axes.set(xlabel="minutes", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
