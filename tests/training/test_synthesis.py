"""The whole synthesis on two small sources: labels make sense, and a killed run goes on."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("imageio_ffmpeg")

from vqafast.training.synthesis import ffmpeg
from vqafast.training.synthesis.index import read_index


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthesis")
    (root / "pool").mkdir()
    moving = ["-f", "lavfi", "-i", "mandelbrot=size=320x240:rate=25:start_scale=0.4"]
    ffmpeg.run([*moving, "-frames:v", "20", "-c:v", "libx264", "-crf", "4", str(root / "pool/clip.mp4")])
    still = ["-f", "lavfi", "-i", "mandelbrot=size=400x300:start_scale=0.01"]
    ffmpeg.run([*still, "-frames:v", "1", str(root / "pool/photo.png")])
    (root / "pool/MANIFEST.csv").write_text("file,clean_scale\nclip.mp4,1.0\n")
    return root


def synthesise(root, *extra):
    command = [sys.executable, "-m", "vqafast.training.synthesis", "--sources", str(root / "pool")]
    options = ["--manifest", str(root / "pool/MANIFEST.csv"), "--out", str(root / "data")]
    small = ["--versions", "3", "--masters", "2", "--frames", "10", "--jobs", "2", *extra]
    return subprocess.run([*command, *options, *small], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def index(dataset):
    done = synthesise(dataset)
    assert done.returncode == 0, done.stderr
    return list(read_index(dataset / "data/index.jsonl"))


def test_every_version_is_labelled_once(index, dataset):
    assert len(index) == len({r["id"] for r in index}) == 2 * (7 + 2 * 3)
    for record in index:
        assert (dataset / "data" / record["file"]).stat().st_size == record["bytes"]
        assert record["frames"] == len(record["vmaf_frames"]) == 10
        assert 0 <= record["vmaf"] <= 100
    first = {(r["width"], r["height"]) for r in index if r["id"].startswith("clip.0")}
    second = {(r["width"], r["height"]) for r in index if r["id"].startswith("clip.1")}
    assert first == {(320, 240)}
    ((width, height),) = second
    assert width < 320
    assert height < 240


def test_vmaf_falls_along_the_ladder(index):
    for source in ("clip", "photo"):
        ladder = [r for r in index if r["source"] == source and r["recipe"]["group"] == "ladder"]
        scores = [r["vmaf"] for r in sorted(ladder, key=lambda r: r["recipe"]["quantizer"])]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] - scores[-1] > 20


def test_a_cut_index_is_completed_with_the_same_records(index, dataset):
    path = dataset / "data/index.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:40])
    done = synthesise(dataset)
    assert done.returncode == 0, done.stderr

    def strip(records):
        return {r["id"]: (r["recipe"], r["vmaf"]) for r in records}

    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert strip(again) == strip(index)


def test_an_unreadable_source_is_reported_and_the_rest_is_made(dataset):
    broken = dataset / "pool/broken.mp4"
    broken.write_bytes(b"not a video")
    try:
        done = synthesise(dataset)
    finally:
        broken.unlink()
    assert done.returncode == 1
    assert "failed: broken" in done.stderr
