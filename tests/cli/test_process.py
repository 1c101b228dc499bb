"""The installed command as a process: pipes, signals, exit statuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests import clips

from vqafast.errors import EXIT_CODES
from vqafast.scoring.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "vqafast.cli"]
HEADER = "YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg"


def default_interrupt() -> None:
    """A shell starts background jobs with SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: object, **kwargs: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=default_interrupt,
        **kwargs,
    )


def run(*arguments: object, given: bytes | None = None) -> tuple[int, str, str]:
    with start(*arguments, stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL) as process:
        out, err = process.communicate(given, timeout=60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def y4m() -> bytes:
    def planes(index: int) -> list[bytes]:
        rgb = clips.content(index, 64, 48)
        return [rgb[..., 0].tobytes(), rgb[::2, ::2, 1].tobytes(), rgb[::2, ::2, 2].tobytes()]

    return clips.y4m([planes(i) for i in range(60)], HEADER)


def test_y4m_on_stdin_scores_as_the_file(model: Path, tmp_path: Path, y4m: bytes):
    path = tmp_path / "in.y4m"
    path.write_bytes(y4m)
    expected = Scorer(model, threads=2).score(path)
    status, out, err = run("score", "--model", model, "-", given=y4m)
    assert (status, err) == (0, "")
    assert out.startswith(f"{expected:.1f}  (0..100, higher is better)\n")
    status, out, _ = run("assess", "--model", model, "-", "--frames", given=y4m)
    assert status == 0
    scores = np.loadtxt(out.splitlines(), delimiter=",", skiprows=1)
    assert scores[:, 1] == pytest.approx(np.arange(12) / 2)


def test_stdin_that_is_no_video(model: Path):
    status, out, err = run("score", "--model", model, "-", given=b"no video " * 100)
    assert status == EXIT_CODES["not_a_video"]
    assert out == ""
    assert err.startswith("error[not_a_video]: ")


def test_a_container_on_stdin(model: Path, clip: Path):
    status, out, _ = run("score", "--model", model, "-", "-q", given=clip.read_bytes())
    assert (status, float(out)) == (0, pytest.approx(Scorer(model, threads=2).score(clip), abs=0.06))


def test_stdin_redirected_from_a_file(model: Path, tmp_path: Path, y4m: bytes):
    path = tmp_path / "in.y4m"
    path.write_bytes(y4m)
    with path.open("rb") as file, start("score", "-q", "--model", model, "-", stdin=file) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert float(out) == pytest.approx(Scorer(model, threads=2).score(path), abs=0.06)


def test_exit_statuses(model: Path, tmp_path: Path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    for arguments, code in (
        ([tmp_path / "absent.mp4"], "missing_file"),
        ([tmp_path, tmp_path / "empty.mp4"], "is_directory"),
        (["https://example.org/x.mp4"], "hostile_input"),
        ([tmp_path / "x.mp4", "--bogus"], "invalid_argument"),
    ):
        status, out, err = run("score", "--model", model, *arguments)
        assert status == EXIT_CODES[code], err
        assert not out or len(arguments) == out.count("  --  ") == err.count("error[")
        assert err.startswith(f"error[{code}]: ")
        assert "Traceback" not in err


def test_ctrl_c_while_a_pipe_is_silent(model: Path, y4m: bytes):
    """The reader of a pipe whose writer has stalled must not keep the process alive."""
    with start("score", "--model", model, "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(y4m[: len(y4m) // 2])
        process.stdin.flush()
        # More than a pipe holds was written: the process is reading, and now waits for the rest.
        time.sleep(3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert b"Traceback" not in process.stderr.read()
        process.stdin.close()


def test_closed_stdout(model: Path, clip: Path):
    """A reader that goes away ends the program quietly, as with ``| head -1``."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [*COMMAND, "assess", "--model", str(model), str(clip), "--frames"],
        stdout=write, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert process.returncode == 141
    assert process.stderr == b""


@pytest.mark.skipif(not hasattr(os, "fsencode"), reason="names are text there")
def test_file_names_are_bytes(model: Path, tmp_path: Path):
    name = os.fsencode(tmp_path) + b"/\xff\n.mp4"
    process = subprocess.run(
        [*COMMAND, "score", "--model", str(model), name], capture_output=True, check=False, timeout=60
    )
    assert process.returncode == EXIT_CODES["missing_file"]
    assert process.stderr.count(b"\n") == 1
