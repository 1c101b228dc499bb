"""Batches of real files through real worker processes, some of which are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests import clips
from tests.farm import misbehaving

import vqafast
from vqafast.errors import EXIT_CODES, InvalidArgument, VqafastError
from vqafast.farm.batch import BatchOptions, run_batch
from vqafast.farm.record import Record

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
FAST = BatchOptions(workers=2, scorer={"threads": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips, and five files that cannot be scored."""
    root = tmp_path_factory.mktemp("media")
    for i in range(12):
        clips.encode(root / f"clip {i:02}.mp4", clips.Clip(frames=12 + i, options={"crf": str(16 + 2 * i)}))
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mkv").write_text("no video")
    (root / "cut.mp4").write_bytes((root / "clip 03.mp4").read_bytes()[:900])
    clips.audio_only(root / "sound.mp4")
    clips.encode(root / "small.mp4", clips.Clip(width=64, height=48, frames=12))
    return root


CODES = {
    "empty.mp4": "not_a_video", "text.mkv": "not_a_video", "cut.mp4": "truncated", "sound.mp4": "audio_only",
    "small.mp4": "too_small",
}  # fmt: skip


def records(path: Path) -> list[Record]:
    return [Record.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scores(path: Path) -> dict[str, Any]:
    return {os.path.basename(r.path): r.score if r.code is None else r.code for r in records(path)}


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = dict(CODES)
    for path in sorted(folder.iterdir()):
        if path.name not in CODES:
            made[path.name] = vqafast.score(path, threads=1)
    return made


def command(folder: Path, out: Path, *more: Any) -> list[str]:
    fixed = ["--workers", 2, "--threads", 1]
    return [str(a) for a in (sys.executable, "-m", "vqafast.cli", "batch", folder, "-o", out, *fixed, *more)]


def test_one_record_for_each_file(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out, told = tmp_path / "results.jsonl", []
    summary = run_batch([str(folder)], out, FAST, on_record=told.append, threshold=expected["clip 02.mp4"])
    assert scores(out) == expected
    assert [r.path for r in told] == [r.path for r in records(out)]
    counts = {"scored": 12, "not_a_video": 2, "truncated": 1, "audio_only": 1, "too_small": 1}
    assert summary.counts == counts
    assert (summary.new, summary.known, summary.failures, summary.complete) == (17, 0, 5, True)
    values = sorted(v for v in expected.values() if isinstance(v, float))
    assert (summary.lowest, summary.median) == (values[0], values[5])
    assert summary.below == sum(v < expected["clip 02.mp4"] for v in values)
    assert summary.workers == 2
    for line in out.read_text(encoding="utf-8").splitlines():
        jsonschema.validate(json.loads(line), SCHEMA)
    # Nothing is done twice.
    again = run_batch([str(folder)], out, FAST)
    assert (again.new, again.known) == (0, 17)
    assert scores(out) == expected


def test_what_a_record_says(folder: Path, tmp_path: Path) -> None:
    options = BatchOptions(workers=1, window=0.5, frames=True, content_hash=True)
    (tmp_path / "list.csv").write_text(f"title,path\nfirst,{folder / 'clip 11.mp4'}\n")
    run_batch([str(tmp_path / "list.csv")], tmp_path / "out.jsonl", options)
    (record,) = records(tmp_path / "out.jsonl")
    assessment = vqafast.assess(folder / "clip 11.mp4", threads=1, window=0.5)
    assert record.score == assessment.score
    assert [(s["start"], s["score"]) for s in record.segments] == [
        (s.start, s.score) for s in assessment.segments
    ]
    assert record.frames == tuple((f.pts, f.score) for f in assessment.frames)
    assert (record.width, record.height, record.codec) == (160, 96, "h264")
    assert record.extra == {"title": "first"}
    assert record.model_sha256 == assessment.model.weights_sha256
    size = (folder / "clip 11.mp4").stat().st_size
    assert (record.size, record.bit_rate) == (size, pytest.approx(8 * size / assessment.video.duration))
    assert record.sha256 is not None
    assert Record.from_json(record.to_json()) == record


def test_a_file_that_changed_is_scored_again_and_the_old_record_goes(folder: Path, tmp_path: Path) -> None:
    media, out = tmp_path / "media", tmp_path / "results.jsonl"
    media.mkdir()
    for i in (1, 9):
        shutil.copy(folder / f"clip {i:02}.mp4", media / f"{i}.mp4")
    run_batch([str(media)], out, FAST)
    shutil.copy(folder / "clip 10.mp4", media / "9.mp4")
    summary = run_batch([str(media)], out, FAST)
    assert (summary.new, summary.known) == (1, 1)
    assert scores(out) == {n: vqafast.score(media / n, threads=1) for n in ("1.mp4", "9.mp4")}
    # Another way of scoring is another record.
    summary = run_batch([str(media)], out, BatchOptions(workers=1, pooling="min"))
    assert (summary.new, summary.known) == (2, 0)
    assert len(records(out)) == 2
    # With a content hash the time of modification says nothing.
    hashed = BatchOptions(workers=1, content_hash=True)
    run_batch([str(media)], out, hashed)
    os.utime(media / "1.mp4")
    assert run_batch([str(media)], out, hashed).new == 0


def test_rows_that_name_a_file_twice_or_nothing(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "clip 00.mp4", tmp_path / "a.mp4")
    (tmp_path / "list.csv").write_text(
        "path,id\na.mp4,1\n./a.mp4,2\n,3\na.mp4\nnone.mp4,4\nhttp://x/y.mp4,5\n"
    )
    summary = run_batch([str(tmp_path / "list.csv")], tmp_path / "out.jsonl", FAST)
    assert summary.duplicates == 1
    got = {r.path: r.code for r in records(tmp_path / "out.jsonl")}
    assert got == {
        str(tmp_path / "a.mp4"): None,
        f"{tmp_path / 'list.csv'}:4": "invalid_argument",
        f"{tmp_path / 'list.csv'}:5": "invalid_argument",
        str(tmp_path / "none.mp4"): "missing_file",
        "http://x/y.mp4": "hostile_input",
    }
    # A file that has come is not missing any more.
    shutil.copy(folder / "clip 01.mp4", tmp_path / "none.mp4")
    assert run_batch([str(tmp_path / "list.csv")], tmp_path / "out.jsonl", FAST).new == 1


def test_crashes_hangs_and_leaks_cost_a_record_each(
    folder: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media, out = tmp_path / "media", tmp_path / "results.jsonl"
    media.mkdir()
    for i in range(6):
        shutil.copy(folder / f"clip {i:02}.mp4", media)
    for name in ("crash", "hang", "grow", "once", "raise"):
        shutil.copy(folder / "clip 00.mp4", media / f"{name}.mp4")
    for name, value in misbehaving.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    options = BatchOptions(workers=2, timeout=10.0, memory=1 << 30)
    summary = run_batch([str(media)], out, options)
    got = scores(out)
    clean = expected["clip 00.mp4"]
    assert got == {
        **{f"clip {i:02}.mp4": expected[f"clip {i:02}.mp4"] for i in range(6)},
        "crash.mp4": "worker_died", "hang.mp4": "timeout", "grow.mp4": "memory_limit", "once.mp4": clean,
        "raise.mp4": "internal",
    }  # fmt: skip
    by_name = {os.path.basename(r.path): r for r in records(out)}
    assert "SIGSEGV, 2 times" in str(by_name["crash.mp4"].message)
    assert (by_name["crash.mp4"].attempts, by_name["once.mp4"].attempts) == (2, 2)
    assert "must be scored within 10 s" in str(by_name["hang.mp4"].message)
    assert "its process held" in str(by_name["grow.mp4"].message)
    # Two first workers, and one for each death: crash twice, hang, grow, once. The last may need none.
    assert 6 <= summary.workers <= 7
    # A poison file is not tried again, unless that is asked for.
    before = misbehaving.tried(tmp_path)
    assert run_batch([str(media)], out, options).new == 0
    assert misbehaving.tried(tmp_path) == before
    more = BatchOptions(workers=1, timeout=4.0, memory=1 << 30, attempts=1, retry="machine")
    assert run_batch([str(media)], out, more).new == 4
    assert sorted(set(misbehaving.tried(tmp_path)[len(before) :])) == [
        "crash.mp4", "grow.mp4", "hang.mp4", "raise.mp4",
    ]  # fmt: skip


def test_kill_9_at_any_moment(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    rng = random.Random(7)
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(command(folder, out), stderr=subprocess.DEVNULL, cwd=ROOT)
        already = out.stat().st_size if out.exists() else 0
        while process.poll() is None and (not out.exists() or out.stat().st_size <= already):
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.3))
        killed += process.poll() is None
        process.kill()
        process.wait()
        # What a kill in the middle of a line leaves.
        with out.open("ab") as file:
            file.write(b'{"schema":1,"path":"/x')
    assert killed
    done = subprocess.run(command(folder, out), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == EXIT_CODES["files_failed"], done.stderr
    assert len(records(out)) == 17
    assert scores(out) == expected


def test_sigterm_finishes_what_runs(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    process = subprocess.Popen(command(folder, out), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while not (out.exists() and out.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped: the same command goes on" in said
    some = scores(out)
    assert 0 < len(some) < 17
    assert some.items() <= expected.items()
    subprocess.run(command(folder, out, "--quiet"), cwd=ROOT, check=False)
    assert scores(out) == expected


def test_the_command_line_as_a_gate(folder: Path, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(folder / "clip 00.mp4", media)

    def run(*more: Any) -> Any:
        return subprocess.run(
            command(media, tmp_path / "out.csv", *more), capture_output=True, text=True, cwd=ROOT, check=False
        )

    got = run()
    assert got.returncode == 0, got.stderr
    assert "1 files in" in got.stderr
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("1,")
    got = run("--fail-below", "100.5")
    assert got.returncode == EXIT_CODES["below_threshold"]
    assert "error[below_threshold]: 1 files have a score below the threshold" in got.stderr
    for more, message in (
        (("--timeout", "soon"), "timeout: must be a length like 2s"),
        (("--memory", "much"), "memory: must be a size like 2G"),
        (("--retry", "some"), "retry must be one of none, machine, all"),
        (("--model", "none"), "model must be one of"),
    ):
        refused = run(*more)
        assert refused.returncode in (EXIT_CODES["invalid_argument"], EXIT_CODES["model_error"])
        assert message in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_full_disk_ends_the_batch_and_the_same_call_goes_on(
    folder: Path, expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fifth write fails half way, as on a full disk; `/dev/full` has no file that could go on."""
    out = tmp_path / "results.jsonl"
    write, calls = os.write, []

    def failing(file: int, data: bytes) -> int:
        calls.append(file)
        if len(calls) == 5:
            return write(file, data[:10])
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr("vqafast.farm.journal.os.write", failing)
    with pytest.raises(VqafastError, match="the disk is full; what is in it stays") as caught:
        run_batch([str(folder)], out, FAST)
    assert caught.value.code == "output"
    monkeypatch.undo()
    assert len(records(out)) == 4
    run_batch([str(folder)], out, FAST)
    assert scores(out) == expected


def test_two_batches_do_not_share_an_output(folder: Path, tmp_path: Path) -> None:
    from vqafast.farm.journal import Journal

    with (
        Journal(tmp_path / "out.jsonl"),
        pytest.raises(InvalidArgument, match="another process is writing it"),
    ):
        run_batch([str(folder)], tmp_path / "out.jsonl", FAST)


def test_a_model_that_cannot_be_loaded_and_workers_that_never_come(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(VqafastError, match="ended with status 1 while it loaded the model"):
        run_batch([str(folder)], tmp_path / "out.jsonl", FAST)


def test_a_content_hash_of_a_pipe_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "list.txt").write_text("pipe.mp4\n")
    run_batch(
        [str(tmp_path / "list.txt")], tmp_path / "out.jsonl", BatchOptions(workers=1, content_hash=True)
    )
    assert scores(tmp_path / "out.jsonl") == {"pipe.mp4": "hostile_input"}
