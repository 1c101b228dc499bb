"""A batch of 1,000 files, killed with SIGKILL at random moments: at the end as if nothing had happened."""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import clips
from tests.endurance import media
from tests.endurance.report import machine, write

from vqafast.farm.record import Record


def make(root: Path, count: int, real: Path | None, rng: random.Random) -> None:
    """`count` files: encoded ones, real ones if there are, and one in twenty broken."""
    broken = count // 20
    found = sorted(p for p in real.rglob("*") if p.suffix in (".mp4", ".mkv", ".webm")) if real else []
    found = found[: count // 10]
    for i, path in enumerate(found):
        shutil.copy(path, root / f"real{i:03}{path.suffix}")
    (root / "sources").mkdir()
    whole = media.make(root / "sources")
    shutil.rmtree(root / "sources")
    for i in range(broken):
        name = rng.choice(list(whole))
        way = rng.choice(("cut", "splice", "flip_head"))
        damaged = media.MUTATIONS[way](whole[name], rng, list(whole.values()))
        (root / f"broken{i:03}_{name}").write_bytes(b"" if i % 7 == 0 else damaged)
    rest = count - broken - len(found)
    for i in range(rest):
        path = root / f"clip{i:04}.mp4"
        if i >= 200:
            shutil.copy(root / f"clip{i % 200:04}.mp4", path)
            continue
        clip = clips.Clip(
            frames=20 + i % 40, options={"crf": str(12 + i % 36), "preset": "ultrafast"}, first=7 * i
        )
        clips.encode(path, clip)


def batch(root: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "vqafast.cli", "batch", str(root), "-o", str(out), "--timeout", "120", "-q"]


def content(out: Path) -> dict[str, tuple[str | None, str | None]]:
    """Score, written as Python writes it, or code, by path."""
    records = [Record.from_json(line) for line in out.read_text(encoding="utf-8").splitlines()]
    found = {r.path: (None if r.score is None else repr(r.score), r.code) for r in records}
    assert len(found) == len(records), "a path has two records"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--real", type=Path, help="Folder with videos to take among the files.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root, whole, killed = (
            Path(folder) / "media",
            Path(folder) / "whole.jsonl",
            Path(folder) / "killed.jsonl",
        )
        root.mkdir()
        make(root, options.count, options.real, rng)
        count = sum(p.is_file() for p in root.iterdir())
        begun = time.monotonic()
        subprocess.run(batch(root, whole), check=False)
        seconds = time.monotonic() - begun
        rows = []
        for _ in range(3):
            process = subprocess.Popen(batch(root, killed))
            time.sleep(rng.uniform(0.15, 0.3) * seconds)
            alive = process.poll() is None
            process.kill()
            process.wait()
            lines = killed.read_bytes().count(b"\n") if killed.exists() else 0
            rows.append((alive, lines))
            print("killed", alive, lines, flush=True)
        last = subprocess.run(batch(root, killed), check=False)
        expected, got = content(whole), content(killed)
    same = expected == got
    failed = sum(code is not None for _, code in expected.values())
    write(
        options.out / "kills.md",
        [
            "# A batch that is killed",
            "",
            f"`python -m tests.endurance.kills --count {options.count} --seed {options.seed}`"
            f"{' with real videos among the files' if options.real else ''}, {machine()}.",
            "",
            f"{count} files, of which {failed} cannot be scored; uninterrupted: {seconds:.0f} s.",
            "",
            "| killed (SIGKILL) | was running | records by then |",
            "|--|--|--|",
            *(f"| {i} | {'yes' if alive else 'no'} | {n} |" for i, (alive, n) in enumerate(rows, 1)),
            "",
            f"After the fourth run (exit status {last.returncode}): {len(got)} records for {count} files, "
            "each path once; scores and codes equal to those of the uninterrupted run, digit for digit: "
            f"{'yes' if same else 'NO'}.",
        ],
    )
    sys.exit(not (same and len(got) == count and all(alive for alive, _ in rows)))


if __name__ == "__main__":
    main()
