"""A worker's side of the pipe."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import Pipe

import pytest

from vqafast.scoring.crew import worker


@pytest.mark.parametrize(
    ("error", "failure", "status"),
    [
        ("CudaError('an illegal memory access')", "'cuCtxSynchronize failed'", worker.DEVICE_LOST),
        ("RuntimeError('from some library')", "'cuCtxSynchronize failed'", worker.DEVICE_LOST),
        ("CudaError('no memory')", "None", 0),
        ("CorruptVideo('broken')", "unasked()", 0),
    ],
)
def test_a_process_whose_gpu_is_lost_ends_and_one_whose_video_is_broken_goes_on(
    error: str, failure: str, status: int
) -> None:
    code = """
import sys
from multiprocessing.connection import Connection
from vqafast.errors import CorruptVideo, CudaError
from vqafast.scoring.crew.worker import answer

def unasked():
    raise AssertionError("the device was asked about a broken video")

class Lost:
    def assess(self, path, **asked):
        raise ERROR
    def device_failure(self):
        return FAILURE

answer(Connection(int(sys.argv[1])), Lost(), 1, {})
""".replace("ERROR", error).replace("FAILURE", failure)
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    with ours:
        ours.send(worker.Task(3, "a.mp4"))
        assert ours.recv() == 3
        if status == 0:
            outcome = ours.recv()
            assert (outcome.index, outcome.error.code in ("cuda_error", "corrupt")) == (3, True)
        else:
            with pytest.raises(EOFError):
                ours.recv()
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    if status:
        assert said.startswith("a.mp4: ")
        assert "; ending: cuCtxSynchronize failed" in said
