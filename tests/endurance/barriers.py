"""Each barrier of our CUDA kernels, left out in turn: do the tests of the emulated kernels notice?"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.endurance.report import machine, write

ROOT = Path(__file__).resolve().parents[2]
BARRIER = "__syncthreads();"
# What runs an op's kernels, in pytest's words.
TESTS = {
    "cgin": "cgin or large",
    "frame_ingest": "cuda_video",
    "hysteresis_pool": "hysteresis",
    "moment_pool": "moment",
    "scene_statistics": "scene",
}
LIMIT = 900  # seconds for one build and its tests


def outcome(tree: Path, tests: str) -> tuple[bool, str]:
    """Whether the tests failed, and what they ended with."""
    environment = {**os.environ, "PYTHON": sys.executable}
    command = ["bash", "tests/run_emulated.sh", "-x", "-k", tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return True, f"no end within {LIMIT} s"
    said = done.stdout + done.stderr
    if not re.search(r"\d (passed|failed)|Fatal Python error", said):
        raise SystemExit(f"the tests did not begin:\n{said[-4000:]}")
    return done.returncode != 0, done.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rows, missed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
        failed, last = outcome(tree, " or ".join(TESTS.values()))
        if failed:
            raise SystemExit(f"the tests fail with all barriers: {last}")
        for path in sorted((tree / "csrc/ops").glob("*/*.cu*")):
            text = path.read_text(encoding="utf-8")
            for found in re.finditer(re.escape(BARRIER), text):
                path.write_text(text[: found.start()] + text[found.end() :], encoding="utf-8")
                noticed, last = outcome(tree, TESTS[path.parent.name])
                line = text.count("\n", 0, found.start()) + 1
                rows.append(f"| {path.name} | {line} | {'yes' if noticed else '**no**'} |")
                missed += not noticed
                print(f"{path.name}:{line} {'noticed' if noticed else 'NOT NOTICED'}: {last}", flush=True)
            path.write_text(text, encoding="utf-8")
    write(
        options.out / "barriers.md",
        [
            "# Barriers left out",
            "",
            f"One `{BARRIER}` of a CUDA kernel at a time, and the tests of that op on the emulated kernels:",
            f"{len(rows) - missed} of {len(rows)} are noticed.",
            f"`python -m tests.endurance.barriers`; {machine()}.",
            "",
            "| file | line | noticed |",
            "|--|--|--|",
            *rows,
        ],
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
