"""``python -m vqafast.training.synthesis --sources CLIPS --out DATA``: make labelled training data.

Writes ``DATA/masters/NAME.mkv``, ``DATA/versions/NAME_NN.mp4`` and ``DATA/index.jsonl`` (one
record a version: source, recipe, VMAF per frame). Run again to go on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av

from vqafast.errors import VqafastError
from vqafast.training.synthesis import label, workflow
from vqafast.training.synthesis.index import read_index
from vqafast.training.synthesis.sources import Source, find_sources, make_master, read_master


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vqafast.training.synthesis", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sources", type=Path, required=True, help="folder of clean clips and photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, help="CSV with the columns file, clean_scale")
    parser.add_argument("--clean-scale", type=float, default=0.5, help="for files the manifest does not name")
    parser.add_argument(
        "--versions", type=int, default=10, help="random versions a source, beside the ladder"
    )
    parser.add_argument("--frames", type=int, default=34)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Synthesis:
    """Makes the versions of each source and appends a record for each to the index."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.index = options.out / "index.jsonl"
        self._lock = threading.Lock()
        self.done = {record["id"] for record in read_index(self.index)}

    def source(self, source: Source) -> tuple[int, list[str]]:
        """All missing versions of one source: how many were made, and what failed."""
        options = self.options
        recipes = self._recipes(source)
        if all(f"{source.name}_{i:02d}" in self.done for i in range(len(recipes))):
            return 0, []
        master_path = options.out / "masters" / f"{source.name}.mkv"
        made, failed = 0, []
        try:
            rng = random.Random(f"{options.seed}/{source.name}/master")
            master = (
                read_master(master_path)
                if master_path.exists()
                else make_master(source, master_path, options.frames, rng)
            )
        except (VqafastError, OSError, av.FFmpegError) as error:
            return 0, [f"{source.name}: {error}"]
        for i, recipe in enumerate(recipes):
            name = f"{source.name}_{i:02d}"
            if name in self.done:
                continue
            try:
                version = label.encode(master, recipe, options.out / "versions" / name)
                record = {
                    "id": name, "source": source.name, "kind": source.kind,
                    "file": version.relative_to(options.out).as_posix(),
                    "master": master_path.relative_to(options.out).as_posix(),
                    "width": master.width, "height": master.height, "frames": master.frames,
                    "rate": master.rate, "bytes": version.stat().st_size,
                    "recipe": recipe.as_dict(), **label.vmaf(version, master),
                }  # fmt: skip
            except VqafastError as error:
                failed.append(f"{name}: {error}")
                continue
            self._append(record)
            made += 1
        return made, failed

    def _recipes(self, source: Source) -> list[workflow.Recipe]:
        drawn = []
        for i in range(self.options.versions):
            rng = random.Random(f"{self.options.seed}/{source.name}/{i}")
            # offset by the name so that few versions still cover all six intervals over sources
            drawn.append(workflow.draw(i + len(source.name), rng))
        return [*workflow.ladder(), *drawn]

    def _append(self, record: dict[str, Any]) -> None:
        with self._lock, self.index.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record) + "\n")


def main() -> int:
    """Make every missing version; exit 1 when any failed (each is named on stderr)."""
    options = _arguments()
    (options.out / "versions").mkdir(parents=True, exist_ok=True)
    sources = find_sources(options.sources, options.manifest, options.clean_scale)
    # shuffled, so that a run stopped early still holds clips and photos of every kind
    random.Random(options.seed).shuffle(sources)
    job = Synthesis(options)
    begun, made, failures = time.monotonic(), 0, []
    with ThreadPoolExecutor(options.jobs) as pool:
        for n, (count, failed) in enumerate(pool.map(job.source, sources), 1):
            made += count
            failures += failed
            for line in failed:
                print(f"failed: {line}", file=sys.stderr, flush=True)
            print(
                f"{n}/{len(sources)} sources, {made} versions, {time.monotonic() - begun:.0f} s", flush=True
            )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
