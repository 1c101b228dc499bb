"""Features of labelled versions, computed once and kept on disk.

Backbones are fixed, so a version is decoded once: quality features, semantic features of a few of its
samples, and what the bitstream tells without decoding (for the hybrid).
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import torch

from vqafast.models.a2inet.functional import moment_pool
from vqafast.models.a2inet.lite import QUALITY_VIEW, SEMANTIC_VIEW
from vqafast.models.backbones.scene_descriptors import SceneDescriptors
from vqafast.models.views import patch_statistics, quality_view, semantic_view
from vqafast.training.synthesis import ffmpeg
from vqafast.training.synthesis.index import read_index
from vqafast.training.synthesis.label import display_filter
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES, bitstream_features
from vqafast.video.sampling import TimeGrid
from vqafast.video.y4m import Y4MSource

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Samples per second while training: versions last about 1.4 s, and the head should see windows
#: of several samples. Scoring samples more sparsely; see the model card.
TRAINING_RATE = 6.0
#: Part of a cached file's name: raise it when features or views change.
CACHE_VERSION = 5
#: Samples of each version with semantic features of their own: pictures of one second are alike.
VIEWS = 2


@dataclass(frozen=True, slots=True)
class VersionFeatures:
    """One version: T samples, its labels and where it came from.

    `quality` ``(T, QUALITY_DIM)``; `semantic` ``(T, SEMANTIC_DIM)``, each sample that of the nearest of
    `VIEWS` ones; `frame_labels` ``(T,)`` VMAF of
    each sampled frame; `label` the mean VMAF over all frames; `bitstream` one value for each of
    `BITSTREAM_FEATURES`.
    """

    record: dict[str, Any]
    quality: NDArray[np.float32]
    semantic: NDArray[np.float32]
    frame_labels: NDArray[np.float32]
    label: float
    bitstream: NDArray[np.float32]


def extract(file: Path, width: int, height: int, scaler: str = "bicubic") -> dict[str, NDArray[Any]]:
    """Decode one version, scaled to its master's size as its label was, and compute features."""
    chain = f"{display_filter(width, height, scaler)},format=yuv420p"
    command = [ffmpeg.executable(), "-v", "error", "-threads", "1", "-i", str(file), "-vf", chain]
    with subprocess.Popen(
        [*command, "-fps_mode", "passthrough", "-f", "yuv4mpegpipe", "-"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        with Y4MSource(cast("BinaryIO", process.stdout)) as source:
            quality, views, indices = [], [], []
            for sampled in source.frames(TimeGrid(TRAINING_RATE, burst=2)):
                if len(sampled.frames) < 2:
                    continue
                patches = quality_view(sampled.frames, QUALITY_VIEW, draw=0, seed=0, threads=1)
                quality.append(patch_statistics(patches, QUALITY_VIEW.maps, threads=1))
                views.append(semantic_view(sampled.frames[0], SEMANTIC_VIEW, threads=1))
                indices.append(sampled.frames[0].index)
    if process.returncode != 0:
        raise ffmpeg.FfmpegError(f"features: ffmpeg exit {process.returncode} on {file}")
    kept = np.linspace(0, len(views) - 1, VIEWS).round().astype(int)
    stream = bitstream_features(file, width, height)
    return {
        "quality": np.stack(quality),
        "semantic": _descriptors(np.concatenate([views[i] for i in kept])),
        "indices": np.array(indices),
        "bitstream": np.array([stream[name] for name in BITSTREAM_FEATURES], dtype=np.float32),
    }


@functools.cache
def _backbone() -> SceneDescriptors:
    return SceneDescriptors().eval()


def _descriptors(views: NDArray[np.float32]) -> NDArray[np.float32]:
    """Semantic features ``(n, SEMANTIC_DIM)`` of views ``(n, 3, h, w)``."""
    with torch.no_grad():
        pooled: NDArray[np.float32] = moment_pool(_backbone()(torch.from_numpy(views))).numpy()
    return pooled


def _cached(root: Path, record: dict[str, Any]) -> Path:
    return root / f"features-{CACHE_VERSION}" / f"{record['id']}.npz"


def _make(job: tuple[Path, dict[str, Any]]) -> None:
    root, record = job
    out = _cached(root, record)
    recipe = record["recipe"]
    arrays = extract(root / record["file"], record["width"], record["height"], recipe["scaler"])
    # a sampled frame's label stands at its place among the master's frames
    arrays["indices"] = arrays["indices"] * recipe["step"]
    partial = out.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    partial.replace(out)


def build(root: Path, jobs: int = 2) -> list[dict[str, Any]]:
    """Features of every version of a data set made by ``vqafast.training.synthesis``; resumable."""
    records = sorted(read_index(root / "index.jsonl"), key=lambda r: str(r["id"]))
    masters = {r["master"]: _master_record(r) for r in records}.values()
    missing = [(root, r) for r in (*masters, *records) if not _cached(root, r).exists()]
    (root / f"features-{CACHE_VERSION}").mkdir(exist_ok=True)
    begun = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        for n, _ in enumerate(pool.map(_make, missing, chunksize=4), 1):
            if n % 200 == 0 or n == len(missing):
                print(f"features: {n}/{len(missing)}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return records


def load(root: Path, record: dict[str, Any]) -> VersionFeatures:
    """Read one version's features back."""
    with np.load(_cached(root, record)) as arrays:
        quality, semantic, indices = arrays["quality"], arrays["semantic"], arrays["indices"]
        bitstream = arrays["bitstream"]
    nearest = np.linspace(0, len(semantic) - 1, len(quality)).round().astype(int)
    labels = np.array(record["vmaf_frames"], dtype=np.float32)[indices]
    return VersionFeatures(record, quality, semantic[nearest], labels, float(record["vmaf"]), bitstream)


def _master_record(record: dict[str, Any]) -> dict[str, Any]:
    """The clean master of a version as a record of its own."""
    name = PurePosixPath(record["master"]).stem
    clean = {**record["recipe"], "step": 1}
    return {**record, "id": f"master_{name}", "file": record["master"], "recipe": clean}


def load_master(root: Path, record: dict[str, Any]) -> NDArray[np.float32]:
    """Mean quality features ``(QUALITY_DIM,)`` of the clean master of a version."""
    with np.load(_cached(root, _master_record(record))) as arrays:
        mean: NDArray[np.float32] = arrays["quality"].mean(axis=0)
    return mean


def describe(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What a data set holds, for the model card."""
    codecs = [r["recipe"]["codec"] for r in records]
    text = json.dumps(sorted((r["id"], r["vmaf"]) for r in records))
    return {
        "versions": len(records),
        "sources": len({r["source"] for r in records}),
        "codecs": {c: codecs.count(c) for c in sorted(set(codecs))},
        "label_digest": hashlib.sha256(text.encode()).hexdigest(),
    }
