"""What goes wrong around DALI, not in the file: indices that mislead it, folders, pipelines that failed."""

from __future__ import annotations

import tempfile
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("nvidia.dali")

from tests.video.test_dali import HOST, SELECTOR, assert_same, fallback, plain, read, write
from tests.video.test_dali_obstacles import SPARSE, thin_cues
from tests.video.test_dali_plan import remux

from vqafast.errors import Unsupported
from vqafast.video import dali_pipeline
from vqafast.video.dali import DaliDecoder, DaliSource
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def host() -> DaliDecoder:
    return DaliDecoder(device="cpu", batch=3, threads=1)


@pytest.mark.parametrize("kept", [(0,), (0, 3), (0, 7)])
def test_an_index_of_some_key_frames_only(
    host: DaliDecoder, make_clip: Any, tmp_path: Path, kept: tuple[int, ...]
) -> None:
    whole = make_clip("cues.webm", SPARSE)
    sparse = thin_cues(whole, tmp_path / "sparse.webm", lambda number, count: number in kept)
    selector = TimeGrid(1, burst=2)
    for path in (whole, sparse):
        source = host.open(path, selector)
        assert isinstance(source, DaliSource)
        assert_same(read(source, selector), plain(path, selector)[1])
        assert not source.warnings
        # Without cues FFmpeg reads on from the last one that it has, and finds every key frame behind it.
        assert source.counts.decoded == (8 if path == whole or kept == (0,) else 74)


def test_the_packets_of_a_file(host: DaliDecoder, make_clip: Any) -> None:
    for name in ("vp9", "vp8", "vp9 variable rate"):
        path = write(make_clip, name, HOST[name])
        with PyAVSource(path, threads=1) as reference:
            truth = reference.packet_records()
        source = host.open(path, SELECTOR)
        assert isinstance(source, DaliSource)
        assert source.packet_records() == truth
        assert_same(read(source, SELECTOR), plain(path, SELECTOR)[1])
        with pytest.raises(Unsupported, match="before frames"):
            source.packet_records()


@pytest.mark.parametrize("name", ["with space", "tab\tand\nline", "ü"])
def test_temporary_folders_of_any_name(
    host: DaliDecoder, vp9_webm: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    source = host.open(vp9_webm, SELECTOR)
    assert isinstance(source, DaliSource)
    assert len(list(folder.iterdir())) == 1
    assert_same(read(source, SELECTOR), plain(vp9_webm, SELECTOR)[1])
    assert not source.warnings
    assert not list(folder.iterdir())


def test_no_temporary_folder(
    host: DaliDecoder, make_clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file of a batch goes to the CPU and says why."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    paths = [write(make_clip, name, HOST[name]) for name in ("vp9", "vp8")]
    for path, source in host.sources(paths, SELECTOR):
        assert isinstance(source, PyAVSource)
        assert_same(read(source, SELECTOR), plain(path, SELECTOR)[1])
        assert "no temporary folder can be made: " in fallback(source)
        assert "No such file or directory" in fallback(source)


def test_a_pipeline_that_failed_is_gone(
    host: DaliDecoder, vp9_webm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is not held while the CPU decodes the rest."""
    pipes: list[weakref.ref[Any]] = []
    build = dali_pipeline.RangeReader._build

    def watched(self: Any, file: Any) -> Any:
        pipe = build(self, file)
        pipes.append(weakref.ref(pipe))
        return pipe

    monkeypatch.setattr(dali_pipeline.RangeReader, "_build", watched)
    path = remux(vp9_webm, tmp_path / "bad.webm", lambda n, data: data[:14] if n == 30 else data)
    with host.open(path, EveryFrame()) as source:
        alive = []
        for _ in source.frames(EveryFrame()):
            failed = any(w.code == "decoder_fallback" for w in source.warnings)
            alive.append((failed, pipes[0]() is not None))
    assert len(pipes) == 1
    assert set(alive) == {(False, True), (True, False)}
    assert np.flatnonzero([failed for failed, _ in alive])[0] > 0
