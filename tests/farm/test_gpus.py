"""Batches on several GPUs, of which some are lost on the way: `vqafast batch` on the emulated card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips
from tests.ops.cuda import CARD_EMULATED

from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not CARD_EMULATED, reason="needs the emulated card (tests/run_emulated_card.sh)"),
]

FILES = 10
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpus")
    for i in range(FILES):
        clips.encode(folder / f"{i}.mp4", clips.Clip(frames=12, width=192, height=128, first=30 * i))
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, float]:
    scorer = Scorer(threads=2)
    return {str(folder / f"{i}.mp4"): scorer.score(folder / f"{i}.mp4") for i in range(FILES)}


def batch(paths: list[str], tmp_path: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """Records by path, and what was printed."""
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    out = tmp_path / "results.jsonl"
    options = ["-S"] if sys.flags.no_site else []
    command = ["batch", str(tmp_path / "list.txt"), "-o", str(out), "--device", "cuda"]
    done = subprocess.run(
        [sys.executable, *options, "-m", "vqafast.cli", *command],
        env={**os.environ, "VQAFAST_CARD_DEVICES": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(r["path"] for r in records) == sorted(paths), done.stderr
    return {r["path"]: r for r in records}, done.stderr


def agree(records: dict[str, Any], truth: dict[str, float]) -> None:
    for path, record in records.items():
        assert record["status"] == "scored", record["message"]
        np.testing.assert_allclose(record["score"], truth[path], atol=TOLERANCE)


def test_two_gpus(truth: dict[str, float], tmp_path: Path) -> None:
    records, _ = batch(list(truth), tmp_path)
    agree(records, truth)
    assert {r["attempts"] for r in records.values()} == {1}


@pytest.mark.parametrize("after", [5, 30])
def test_a_gpu_is_lost(after: int, truth: dict[str, float], tmp_path: Path) -> None:
    fail = f"{tmp_path / 'lost'} cuvidDecodePicture {after} 700 1"
    records, said = batch(list(truth), tmp_path, VQAFAST_CARD_FAIL=fail)
    assert (tmp_path / "lost").exists()
    agree(records, truth)
    assert max(r["attempts"] for r in records.values()) == 2
    assert "cannot be used by this process any more" in said


def test_a_video_that_breaks_every_gpu(truth: dict[str, float], folder: Path, tmp_path: Path) -> None:
    """Its company is scored all the same."""
    data = bytearray((folder / "0.mp4").read_bytes())
    with av.open(str(folder / "0.mp4")) as container:
        key = next(container.demux(video=0))
    # Bits of its slice: what FFmpeg reads of it stays, and the card does not know the picture.
    data[key.pos + key.size - 8] ^= 1
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    paths = [str(bad), *truth]
    records, _ = batch(paths, tmp_path, VQAFAST_CARD_UNKNOWN_BREAKS="1")
    record = records.pop(str(bad))
    assert (record["status"], record["code"]) == ("failed", "worker_died")
    assert "its GPU was lost" in record["message"]
    agree(records, truth)
