"""Batches and a service while the wall clock jumps by hours and years, as a preloaded library shows it."""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests import clips
from tests.endurance.kills import batch, content, make
from tests.endurance.report import machine, write
from tests.farm import misbehaving
from tests.farm.served import serving

from vqafast.farm.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds: from ten years back to nine ahead.
OFFSETS = (-315_360_000, -259_200, -3600, -90, 0, 5, 3600, 172_800, 283_824_000)
TIMEOUT = 5.0


@contextlib.contextmanager
def jumping(folder: Path, rng: random.Random, jumps: Counter[int]) -> Iterator[dict[str, str]]:
    """Variables for processes whose wall clock jumps twice a second, by what is written to a file."""
    library, file, end = folder / "jump.so", folder / "offset", threading.Event()
    source = Path(__file__).with_name("jump.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    file.write_bytes(bytes(8))

    def jump() -> None:
        with file.open("r+b", buffering=0) as out:
            while not end.wait(0.5):
                offset = rng.choice(OFFSETS)
                jumps[offset] += 1
                out.seek(0)
                out.write(offset.to_bytes(8, "little", signed=True))

    thread = threading.Thread(target=jump, daemon=True)
    thread.start()
    try:
        yield {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(file)}
    finally:
        end.set()
        thread.join()


def batches(
    root: Path, out: Path, expected: dict[str, tuple[str | None, str | None]], environment: dict[str, str]
) -> tuple[list[float], list[str]]:
    """Stop one batch twice, then run it twice more; seconds after which the hanging file was given up."""
    command = [*batch(root, out), "--timeout", f"{TIMEOUT:g}"]
    for _ in range(2):
        process = subprocess.Popen(command, env=environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(4)
            break
        process.terminate()
        process.wait()
    ends = [subprocess.run(command, env=environment, check=False).returncode for _ in range(2)]
    got = content(out)
    hung = got.pop(str(root / "hang.mp4"))
    records = [Record.from_json(line) for line in out.read_text("utf-8").splitlines()]
    took = [r.seconds for r in records if r.code == "timeout"]
    wrong = []
    if got != expected or hung != (None, "timeout"):
        wrong.append("records differ")
    if not all(0 <= r.seconds < 20 for r in records) or not all(TIMEOUT <= s < TIMEOUT + 2 for s in took):
        wrong.append(f"seconds of the records, {took} of the hanging file")
    # Once there is no record to make, nothing is scored again.
    return took, [*wrong, *(f"exit status {end}" for end in ends if end != 25)]


def service(
    root: Path,
    expected: dict[str, tuple[str | None, str | None]],
    environment: dict[str, str],
    seconds: float,
    rng: random.Random,
) -> tuple[Counter[str], list[float], float, list[str]]:
    """Answers, seconds after which the hanging file was given up, the service's own mean latency."""
    answers, waited, wrong = Counter[str](), [], []
    limits = ("--workers", 2, "--timeout", f"{TIMEOUT:g}", "--grace", "20s", "--quiet")
    with serving(root, *limits, environment=environment) as server:
        paths = sorted(p.name for p in root.iterdir())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path = rng.choice(paths) if rng.random() < 0.98 else "hang.mp4"
            begun = time.monotonic()
            answer = server.get("/score", path=path)
            code = answer.headers.get("X-Vqafast-Error")
            answers[f"{answer.status_code} {code or ''}".strip()] += 1
            if path == "hang.mp4":
                waited.append(time.monotonic() - begun)
                right = code == "timeout"
            else:
                score, failure = expected[str(root / path)]
                right = failure == code if score is None else repr(answer.json()["score"]) == score
            if not right:
                wrong.append(f"{path}: {answer.text[:200]}")
        mean = server.metric("vqafast_request_seconds_sum") / sum(answers.values())
        server.http.close()
        server.process.terminate()
        status = server.wait()
    if status or not 0 < mean < TIMEOUT or not all(TIMEOUT <= s < TIMEOUT + 3 for s in waited):
        wrong.append(f"exit status {status}, mean latency {mean}, timeouts after {waited}")
    return answers, waited, mean, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60.0, help="Of the service.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rng, jumps = random.Random(1), Counter[int]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "media"
        root.mkdir()
        make(root, options.count, None, rng)
        subprocess.run(batch(root, folder / "whole.jsonl"), check=False)
        expected = content(folder / "whole.jsonl")
        clips.encode(root / "hang.mp4", clips.Clip(frames=12))
        hangs = misbehaving.environment(folder)
        with jumping(folder, rng, jumps) as clock:
            environment = {**hangs, **clock}
            took, wrong = batches(root, folder / "jump.jsonl", expected, environment)
            answers, waited, mean, more = service(root, expected, environment, options.seconds, rng)
    wrong += more
    said = ", ".join(f"{answer}: {n}" for answer, n in sorted(answers.items()))
    write(
        options.out / "clock.md",
        [
            "# A clock that jumps",
            "",
            f"`python -m tests.endurance.clock --count {options.count} --seconds {options.seconds:g}`, "
            f"{machine()}.",
            "",
            f"The wall clock, as processes see it (jump.c, preloaded), was set {sum(jumps.values())} times, "
            f"every half second, to the true time and {', '.join(f'{o:+}' for o in OFFSETS)} s; the "
            "monotonic clock went on.",
            "",
            f"A batch of {len(expected)} files and one that hangs, stopped twice and run to its end twice: "
            f"the hanging one recorded as `timeout` after {', '.join(f'{s:.2f}' for s in took)} s "
            f"(`--timeout {TIMEOUT:g}`), all others as with a steady clock.",
            "",
            f"A service for {options.seconds:g} s: {said}; timeouts after "
            f"{', '.join(f'{s:.1f}' for s in waited)} s; its own mean latency {mean:.2f} s.",
            "",
            f"As it must be: {'yes' if not wrong else 'NO: ' + '; '.join(wrong[:5])}.",
        ],
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
