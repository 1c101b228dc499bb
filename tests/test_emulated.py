"""What needs a GPU, where there is none: its kernels compiled for the CPU, and a driver that plays a card."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the build with emulated kernels, which the first script fills."""
    missing = [tool for tool in ("cmake", "ninja", "c++") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return tmp_path_factory.mktemp("emulated")


def summary(script: str, build: Path) -> str:
    """Last line of the script's tests, all of which must pass."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    environment |= {"BUILD": str(build), "PYTHON": sys.executable}
    command = ["bash", str(TESTS / script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_cuda_kernels_on_the_cpu(build: Path) -> None:
    """Every sample of test_cuda.py and test_cuda_video.py, by a build that emulates the kernels."""
    last = summary("run_emulated.sh", build)
    assert re.fullmatch(r"\d{4,} passed in .*", last), last  # none is skipped


@pytest.mark.slow
def test_scoring_on_an_emulated_card(build: Path) -> None:
    """NVDEC by FFmpeg's own code, the torch engine with its graphs, whole scores: the tests for a GPU."""
    pytest.importorskip("torch")
    last = summary("run_emulated_card.sh", build)
    # Skipped are those of torch's and TensorRT's own CUDA, and of DALI.
    assert re.fullmatch(r"\d{3,} passed, \d+ skipped, \d+ deselected in .*", last), last
