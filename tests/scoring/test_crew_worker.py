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
        ("EngineUnavailable('TensorRT could not run')", "'cuCtxSynchronize failed'", worker.DEVICE_LOST),
        ("CudaError('the driver cannot be asked either')", "unasked()", worker.DEVICE_LOST),
        ("CorruptVideo('broken')", "None", 0),
    ],
)
def test_a_process_whose_gpu_is_lost_ends_and_one_whose_video_is_broken_goes_on(
    error: str, failure: str, status: int
) -> None:
    code = """
import sys
from multiprocessing.connection import Connection
from vqafast.errors import CorruptVideo, CudaError, EngineUnavailable
from vqafast.scoring.crew.worker import answer

def unasked():
    raise RuntimeError("cuCtxSynchronize failed")

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
        assert said.startswith("'a.mp4': ")
        assert "; ending: " in said
        assert "cuCtxSynchronize failed" in said


def test_a_process_whose_gpu_is_lost_ends_also_when_nobody_reads_what_it_says() -> None:
    code = """
from vqafast.errors import CudaError
from vqafast.scoring.crew.worker import end_if_lost
from vqafast.scoring.many import Outcome

class Lost:
    def device_failure(self):
        return "gone"

end_if_lost(Lost(), Outcome(0, "a.mp4", error=CudaError("gone")))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(60) == worker.DEVICE_LOST
