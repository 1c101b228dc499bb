"""Choosing the source, finding the model, and reads that can be called off."""

from __future__ import annotations

import io
import os
import threading

import pytest
from tests import clips

from vqafast.errors import IsDirectory, MissingFile, ModelError, NotAVideo
from vqafast.models import registry
from vqafast.scoring._open import open_source
from vqafast.scoring._pipe import CancellableReader, cancellable
from vqafast.scoring.loading import load_spec
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame
from vqafast.video.y4m import Y4MSource

Y4M = clips.y4m([[bytes(64 * 48), bytes(32 * 24), bytes(32 * 24)]] * 3)


class OneWay(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_sources(tmp_path, clip):
    (tmp_path / "in.y4m").write_bytes(Y4M)
    for path, kind in (
        (tmp_path / "in.y4m", Y4MSource),
        (str(tmp_path / "in.y4m"), Y4MSource),
        (io.BytesIO(Y4M), Y4MSource),
        (OneWay(Y4M), Y4MSource),
        (clip, PyAVSource),
        (io.BytesIO(clip.read_bytes()), PyAVSource),
    ):
        with open_source(path, 1) as opened:
            assert type(opened.source) is kind
            assert (opened.cancel is None) == (kind is Y4MSource)
    with open_source(clip, 1) as opened:
        assert opened.source.info.path == str(clip)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_what_was_opened_is_closed(tmp_path, clip, error):
    (tmp_path / "in.y4m").write_bytes(Y4M)
    before = len(os.listdir("/proc/self/fd"))
    for path in (clip, tmp_path / "in.y4m"):
        try:
            with open_source(path, 1):
                if error:
                    raise error
        except RuntimeError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_errors_of_opening(tmp_path):
    with pytest.raises(MissingFile):
        open_source(tmp_path / "absent", 1).__enter__()
    with pytest.raises(IsDirectory):
        open_source(tmp_path, 1).__enter__()
    with pytest.raises(NotAVideo):
        open_source(OneWay(b"RIFFxxxx"), 1).__enter__()


def test_a_waiting_read_can_be_called_off():
    read, write = os.pipe()
    reader = CancellableReader(read)
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(reader.read(10)))
    thread.start()
    os.write(write, b"abc")
    thread.join(60)
    thread = threading.Thread(target=lambda: got.append(reader.read(10)))
    thread.start()
    reader.cancel()
    thread.join(60)
    assert got == [b"abc", b""]
    # Data that comes later is not read any more.
    os.write(write, b"late")
    assert reader.read(10) == b""
    reader.close()
    reader.close()
    reader.cancel()
    os.close(read)
    os.close(write)


def test_the_end_of_a_pipe_is_the_end():
    read, write = os.pipe()
    os.write(write, b"x" * 5)
    os.close(write)
    with CancellableReader(read) as reader:
        assert reader.readall() == b"x" * 5
    os.close(read)


def test_a_file_is_no_pipe(clip):
    with clip.open("rb") as file:
        assert cancellable(file) is None


def test_what_is_decoded_can_be_called_off(clip):
    """A long stretch without a sample would keep Ctrl-C waiting."""
    with open_source(clip, 1) as opened:
        assert opened.cancel == opened.source.cancel
        samples = opened.source.frames(EveryFrame(burst=1))
        next(samples)
        opened.cancel()
        assert len(list(samples)) < 10
    assert cancellable(io.BytesIO()) is None


def test_default_model_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(registry, "BUILTIN", ("ghost",))
    monkeypatch.setattr(registry, "DEFAULT", "ghost")
    for name in (None, "ghost"):
        with pytest.raises(ModelError, match="'ghost' must be part of the installation"):
            load_spec(name)
    with pytest.raises(ModelError, match=r"must be one of ghost, or a directory with a model.json"):
        load_spec("nonsense")
