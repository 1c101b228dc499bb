"""Errors keep their code, path and builtin kin, also across processes."""

from __future__ import annotations

import pickle

import pytest

from vqafast import errors

CLASSES = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VqafastError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error(kind: type[errors.VqafastError]) -> None:
    error = kind("what must hold, got what", path="a.mp4")
    assert str(error) == "what must hold, got what"
    assert error.code in errors.EXIT_CODES
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.path, copy.code) == (kind, str(error), "a.mp4", error.code)


def test_exit_codes_are_distinct_and_small() -> None:
    codes = list(errors.EXIT_CODES.values())
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 64 for code in codes)
    # What a batch came to has a status, and is no error.
    came_to = {"files_failed", "below_threshold"}
    assert {kind.default_code for kind in CLASSES} == set(errors.EXIT_CODES) - came_to


def test_builtin_kin() -> None:
    assert issubclass(errors.MissingFile, FileNotFoundError)
    assert issubclass(errors.IsDirectory, IsADirectoryError)
    assert issubclass(errors.Unreadable, PermissionError)
    assert issubclass(errors.InvalidArgument, ValueError)
    assert issubclass(errors.HdrUnsupported, NotImplementedError)
    assert issubclass(errors.CudaError, RuntimeError)
    assert issubclass(errors.TimedOut, TimeoutError)
    assert issubclass(errors.MemoryLimit, MemoryError)
    assert issubclass(errors.OutputError, OSError)
