"""``python -m vqafast.training.synthesis --sources CLIPS --out DATA``: make labelled training data.

Writes ``DATA/masters/NAME.V.mkv``, ``DATA/versions/NAME.V_NN.*`` and ``DATA/index.jsonl`` (one record a
version: source, recipe, VMAF per frame). Run again to go on where it stopped. Every source's first
master comes first, then the second of each, so that a run stopped early is balanced.
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
from vqafast.training.synthesis.sources import Master, Source, find_sources, make_master, read_master


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vqafast.training.synthesis", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sources", type=Path, required=True, help="folder of clean clips and photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, help="CSV with the columns file, clean_scale")
    parser.add_argument("--clean-scale", type=float, default=0.5, help="for files the manifest does not name")
    parser.add_argument("--masters", type=int, default=3, help="clean segments, crops or pans of each source")
    parser.add_argument(
        "--versions", type=int, default=8, help="random versions of each master; the first has a ladder too"
    )
    parser.add_argument("--frames", type=int, default=28)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Synthesis:
    """Makes the versions of each master and appends a record for each to the index."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.index = options.out / "index.jsonl"
        self._lock = threading.Lock()
        self.done = {record["id"] for record in read_index(self.index, repair=True)}

    def master(self, job: tuple[int, Source]) -> tuple[int, list[str]]:
        """All missing versions of one master: how many were made, and what failed."""
        variant, source = job
        options = self.options
        stem = f"{source.name}.{variant}"
        count = options.versions + (len(workflow.LADDER) if variant == 0 else 0)
        names = [f"{stem}_{i:02d}" for i in range(count)]
        if self.done.issuperset(names):
            return 0, []
        path = options.out / "masters" / f"{stem}.mkv"
        try:
            rng = random.Random(f"{options.seed}/{stem}/master")
            master = (
                read_master(path)
                if path.exists()
                else make_master(source, path, options.frames, variant, rng)
            )
        except (VqafastError, OSError, av.FFmpegError) as error:
            return 0, [f"{stem}: {error}"]
        made, failed = 0, []
        for name, recipe in zip(names, self._recipes(stem, variant, master), strict=True):
            if name in self.done:
                continue
            try:
                record = self._version(name, recipe, master)
            except VqafastError as error:
                failed.append(f"{name}: {error}")
                continue
            self._append({"id": name, "source": source.name, "kind": source.kind, **record})
            made += 1
        return made, failed

    def _version(self, name: str, recipe: workflow.Recipe, master: Master) -> dict[str, Any]:
        out = self.options.out
        version = label.encode(master, recipe, out / "versions" / name)
        return {
            "file": version.relative_to(out).as_posix(), "master": master.path.relative_to(out).as_posix(),
            "width": master.width, "height": master.height, "frames": master.frames, "rate": master.rate,
            "bytes": version.stat().st_size, "recipe": recipe.as_dict(),
            **label.vmaf(version, master, recipe),
        }  # fmt: skip

    def _recipes(self, stem: str, variant: int, master: Master) -> list[workflow.Recipe]:
        drawn = []
        for i in range(self.options.versions):
            rng = random.Random(f"{self.options.seed}/{stem}/{i}")
            # offset by the name so that few versions still cover all six intervals over sources
            drawn.append(workflow.draw(i + len(stem) + variant, master.frames, master.rate, rng))
        return [*(workflow.ladder() if variant == 0 else []), *drawn]

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
    jobs = [(variant, source) for variant in range(options.masters) for source in sources]
    job = Synthesis(options)
    begun, made, failures = time.monotonic(), 0, []
    with ThreadPoolExecutor(options.jobs) as pool:
        for n, (count, failed) in enumerate(pool.map(job.master, jobs), 1):
            made += count
            failures += failed
            for line in failed:
                print(f"failed: {line}", file=sys.stderr, flush=True)
            print(f"{n}/{len(jobs)} masters, {made} versions, {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
