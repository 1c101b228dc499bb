"""A batch whose disk is full, on a real file system: what is there stays whole, and the same command goes on.

It needs root, to mount a file system of a few kilobytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import clips
from tests.endurance.report import machine, write

from vqafast.errors import EXIT_CODES
from vqafast.farm.record import Record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, small = Path(folder) / "media", Path(folder) / "small"
        root.mkdir()
        small.mkdir()
        clips.encode(root / "0000.mp4", clips.Clip(frames=24))
        for i in range(1, options.count):
            (root / f"{i:04}.mp4").write_bytes((root / "0000.mp4").read_bytes())
        size = f"size={options.kilobytes}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(small)], check=True)
        try:
            results = small / "results.jsonl"
            command = [sys.executable, "-m", "vqafast.cli", "batch", str(root), "-o", str(results)]
            full = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = results.read_text(encoding="utf-8").splitlines()
            whole = len({Record.from_json(line).path for line in lines})
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            after = subprocess.run(command, capture_output=True, text=True, check=False)
            records = [Record.from_json(x) for x in results.read_text(encoding="utf-8").splitlines()]
        finally:
            subprocess.run(["umount", str(small)], check=True)
    good = (
        full.returncode == EXIT_CODES["output"]
        and 0 < whole == len(lines) < options.count
        and after.returncode == 0
        and len(records) == len({r.path for r in records}) == options.count
    )
    write(
        options.out / "disk.md",
        [
            "# A full disk",
            "",
            f"`python -m tests.endurance.disk --count {options.count} --kilobytes {options.kilobytes}`, "
            f"{machine()}.",
            "",
            f"{options.count} files, the output on a file system of {options.kilobytes} kB: exit status "
            f"{full.returncode}, {whole} records, all of them whole. What it said:",
            "",
            "```",
            full.stderr.strip().splitlines()[-1].replace(str(small), "DISK"),
            "```",
            "",
            f"The same command with room: exit status {after.returncode}, {len(records)} records for "
            f"{options.count} files, each path once. As it should be: {'yes' if good else 'NO'}.",
        ],
    )
    sys.exit(not good)


if __name__ == "__main__":
    main()
