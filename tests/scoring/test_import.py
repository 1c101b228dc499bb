"""What `import vqafast` costs and promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vqafast


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


def test_import_is_quick():
    """The budget is 0.3 s; the best of three keeps a busy machine from failing it."""

    def total() -> float:
        lines = python("import vqafast", "-X", "importtime").stderr.splitlines()
        (line,) = [line for line in lines if line.split("|")[-1].strip() == "vqafast"]
        return int(line.split("|")[1]) / 1e6

    assert min(total() for _ in range(3)) < 0.3


def test_import_brings_nothing_heavy():
    code = "import sys, vqafast; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(python(code).stdout.split())
    assert not loaded & {"numpy", "av", "openvino", "torch", "rich", "typer"}


def test_scorer_and_command_line_do_without_torch():
    code = "import sys, vqafast, vqafast.cli; vqafast.Scorer, vqafast.score; print('torch' in sys.modules)"
    assert python(code).stdout.strip() == "False"


def test_names():
    for name in vqafast.__all__:
        assert getattr(vqafast, name) is not None
        assert name in dir(vqafast)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vqafast.nonsense
