"""``vqafast serve`` as a process of its own, for tests that speak to it over HTTP."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from tests.processes import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator


def children(process: int) -> list[int]:
    """Its workers: all but the one that only holds the model for them."""
    found = []
    for pid in descendants(process):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/comm").read_text().strip() != "vqafast-model":
                found.append(pid)
    return found


class Server:
    """A running ``vqafast serve``."""

    def __init__(self, root: Path, *arguments: Any, environment: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "vqafast.cli", "serve", "--root", root, "--port", self.port]
        self.log = root.parent / f"{self.port}.log"
        with self.log.open("wb") as log:
            words = [str(a) for a in (*command, "--threads", 1, *arguments)]
            self.process = subprocess.Popen(words, stderr=log, stdout=log, env=environment)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no service: {self.log.read_text()}")
            time.sleep(0.1)

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/healthz").status_code == 200
        return False

    def get(self, route: str, /, **query: Any) -> Any:
        return self.http.get(route, params=query)

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def workers(self) -> list[int]:
        return children(self.process.pid)

    def wait(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)

    def stop(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(root: Path, *arguments: Any, environment: dict[str, str] | None = None) -> Iterator[Server]:
    server = Server(root, *arguments, environment=environment)
    try:
        yield server
    finally:
        server.stop()
