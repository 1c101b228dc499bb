"""DALI gives the samples of PyAV: several files at once, and no bad one takes another along.

On the CPU DALI decodes VP8 and VP9 only; the tests of other codecs are for a GPU, and never ran on one yet.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests import clips
from tests.clips import Clip
from tests.ops.cuda import require_gpu
from tests.video.test_dali_plan import ACCEPTED, remux

pytest.importorskip("nvidia.dali")

from vqafast.errors import MissingFile, NotAVideo, Unsupported, VqafastError
from vqafast.ops import frame_ingest
from vqafast.video import dali_pipeline, dali_plan
from vqafast.video.dali import DaliDecoder, DaliSource
from vqafast.video.nvdec import to_host
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.sampling import Selector
    from vqafast.video.source import FrameSource, Sampled

REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
SELECTOR = TimeGrid(4, burst=2)
SELECTORS = (SELECTOR, EveryFrame(burst=2), UniformCount(5), TimeGrid(Fraction(7, 2), burst=3))
HOST = {
    "vp9": Clip("libvpx-vp9", options=REALTIME),
    "vp9 of another size": Clip("libvpx-vp9", width=98, height=66, options=REALTIME),
    "vp9 full range": Clip("libvpx-vp9", options=REALTIME, color={"color_range": 2, "colorspace": 1}),
    "vp9 bt709": Clip("libvpx-vp9", options=REALTIME, color={"color_range": 1, "colorspace": 1}),
    "vp9 rotated.mp4": Clip("libvpx-vp9", options=REALTIME, rotation=90),
    "vp9 one key frame": Clip("libvpx-vp9", options={**REALTIME, "g": "1000"}),
    "vp9 variable rate": Clip(
        "libvpx-vp9",
        frames=8,
        tick=Fraction(1, 1000),
        times=[0, 10, 200, 210, 1000, 1500, 3000, 3001],
        options=REALTIME,
    ),
    "vp9 one frame": Clip("libvpx-vp9", frames=1, options=REALTIME),
    "vp9 cut burst.ivf": Clip("libvpx-vp9", frames=43, options=REALTIME),
    "vp8": Clip("libvpx", options=REALTIME),
}
DEVICE = {name: clip for name, (clip, _) in ACCEPTED.items()}


@pytest.fixture(scope="module")
def host() -> DaliDecoder:
    return DaliDecoder(device="cpu", batch=3, threads=1)


def write(make_clip: Any, name: str, clip: Clip) -> Path:
    stem, _, suffix = name.partition(".")
    path: Path = make_clip(f"dali_{stem.replace(' ', '_')}.{suffix or 'webm'}", clip)
    return path


def plain(path: Path | str, selector: Selector) -> tuple[PyAVSource, list[Sampled]]:
    with PyAVSource(path, threads=1) as source:
        return source, list(source.frames(selector))


def read(source: FrameSource | VqafastError, selector: Selector) -> list[Sampled]:
    assert not isinstance(source, VqafastError), source
    with source:
        return list(source.frames(selector))


def fallback(source: Any) -> str:
    """Message of the warning that names the other decoder."""
    return next(w.message for w in source.warnings if w.code == "decoder_fallback")


def assert_same(got: list[Sampled], truth: list[Sampled]) -> None:
    """Times, numbers and luma equal, chroma within a level; on the CPU but for what DALI's RGB clips."""
    assert [s.k for s in got] == [s.k for s in truth]
    for mine, theirs in zip(got, truth, strict=True):
        assert len(mine.frames) == len(theirs.frames)
        for a, b in zip(mine.frames, theirs.frames, strict=True):
            assert (a.index, a.pts, a.layout, a.color) == (b.index, b.pts, b.layout, b.color)
            assert (a.width, a.height, a.rotation) == (b.width, b.height, b.rotation)
            assert (a.sample_aspect_ratio, a.corrupt) == (b.sample_aspect_ratio, False)
            clipped = 1e-3 if isinstance(a.planes[0], np.ndarray) else 0.0
            for p, q, level in zip(to_host(a).planes, b.planes, (0, 1, 1), strict=True):
                assert (p.shape, p.dtype) == (q.shape, np.uint8)
                error = np.abs(p.astype(int) - q)
                assert (error > level).mean() <= clipped
                assert error.max() <= 3


@pytest.mark.parametrize("name", HOST)
@pytest.mark.parametrize("selector", SELECTORS, ids=str)
def test_samples_are_those_of_pyav(host: DaliDecoder, make_clip: Any, name: str, selector: Selector) -> None:
    path = write(make_clip, name, HOST[name])
    source = host.open(str(path), selector)
    got = read(source, selector)
    reference, truth = plain(path, selector)
    assert isinstance(source, DaliSource)
    assert source.info.decoder == f"{source.info.codec} (DALI {host._backend.version}, CPU)"
    assert source.warnings == reference.warnings
    assert_same(got, truth)
    counts = source.counts
    if path.suffix != ".ivf":  # which is read from the start
        assert counts.decoded == len({f.index for s in got for f in s.frames})
    assert counts.decoded + counts.skipped == HOST[name].frames


def test_planes_can_be_ingested(host: DaliDecoder, make_clip: Any) -> None:
    """RGB within the step that one level of chroma makes in BT.709 blue: 255 / 224 * 1.8556."""
    for name in ("vp9", "vp9 full range", "vp9 bt709"):
        path = write(make_clip, name, HOST[name])
        got = read(host.open(path, SELECTOR), SELECTOR)
        for mine, theirs in zip(got, plain(path, SELECTOR)[1], strict=True):
            a, b = (frame_ingest(s.frames[0], [(0, 0, 160, 96)], (96, 160)) * 255 for s in (mine, theirs))
            assert np.abs(a - b).max() <= 2.12
            assert np.abs(a - b).mean() < 0.1


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_runs_of_any_length(
    host: DaliDecoder, make_clip: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_pipeline, "_CHUNK_FRAMES", chunk)
    path = write(make_clip, "vp9", HOST["vp9"])
    for selector in (SELECTOR, EveryFrame(burst=3)):
        assert_same(read(host.open(path, selector), selector), plain(path, selector)[1])


def test_frames_between_close_ranges_are_passed_over(
    host: DaliDecoder, make_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_plan, "_MOST_RANGES", 2)
    path = write(make_clip, "vp9", HOST["vp9"])
    source = host.open(path, SELECTOR)
    assert_same(read(source, SELECTOR), plain(path, SELECTOR)[1])
    assert 16 < source.counts.decoded < 48


def test_a_batch_with_bad_files_in_the_middle(host: DaliDecoder, make_clip: Any, tmp_path: Path) -> None:
    good = [write(make_clip, name, HOST[name]) for name in HOST]
    garbage, cut, h264 = tmp_path / "bad.webm", tmp_path / "cut.webm", make_clip("dali.mp4", Clip())
    garbage.write_bytes(b"this is no video" * 100)
    clips.cut(good[0], cut, 0.6)
    paths = [good[0], garbage, good[1], cut, *good[2:4], tmp_path / "missing.webm", h264, *good[4:]]
    seen = []
    for path, source in host.sources(paths, SELECTOR):
        seen.append(path)
        if path == garbage:
            assert isinstance(source, NotAVideo)
        elif path == tmp_path / "missing.webm":
            assert isinstance(source, MissingFile)
        else:
            got = read(source, SELECTOR)
            reference, truth = plain(path, SELECTOR)
            assert_same(got, truth)
            codes = [w.code for w in source.warnings if w.code != "decoder_fallback"]
            assert codes == [w.code for w in reference.warnings]
            assert isinstance(source, PyAVSource) == (path in (cut, h264))
            if path == h264:
                assert fallback(source) == (
                    f"DALI {host._backend.version}: the codec must be one of vp8, vp9, got h264; "
                    "decoded on the CPU"
                )
    assert seen == paths


def test_dali_fails_half_way(host: DaliDecoder, vp9_webm: Path, tmp_path: Path) -> None:
    """A packet that looks right and is cut off: the samples behind it come from PyAV."""
    path = remux(vp9_webm, tmp_path / "bad.webm", lambda n, data: data[:14] if n == 30 else data)
    for selector in (EveryFrame(burst=2), SELECTOR):
        source = host.open(path, selector)
        assert isinstance(source, DaliSource)
        got = read(source, selector)
        reference, truth = plain(path, selector)
        assert_same(got, truth)
        assert fallback(source).endswith("; decoded on the CPU from there on")
        assert [w for w in source.warnings if w.code != "decoder_fallback"] == reference.warnings
        assert source.counts == reference.counts


@pytest.mark.parametrize("side", [255, 64])
def test_a_container_that_lies_about_the_size(
    host: DaliDecoder, vp9_webm: Path, tmp_path: Path, side: int
) -> None:
    """DALI would believe it, and write past the end of its memory for some sizes."""
    data = bytearray(vp9_webm.read_bytes())
    for name, size in ((b"\xb0\x81", b"\xa0"), (b"\xba\x81", b"\x60")):
        data[data.index(name + size) + 2] = side
    path = tmp_path / "lie.webm"
    path.write_bytes(data)
    source = host.open(path, SELECTOR)
    assert isinstance(source, PyAVSource)
    assert_same(read(source, SELECTOR), plain(path, SELECTOR)[1])
    assert f"must be {side}x{side} as the container says, got 160x96" in fallback(source)


def test_dali_whose_index_differs_is_not_believed(
    host: DaliDecoder, vp9_webm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_plan.Timeline, "seconds", lambda self, index: index / 25)
    source = host.open(vp9_webm, SELECTOR)
    assert_same(read(source, SELECTOR), plain(vp9_webm, SELECTOR)[1])
    assert "it must give frame 1 at 0.040000 s, got 1 at 0.0" in fallback(source)


def test_a_file_that_is_replaced_under_its_name(host: DaliDecoder, make_clip: Any, tmp_path: Path) -> None:
    """DALI remembers its index of a file by the name."""
    path = tmp_path / "same name.webm"
    for name in ("vp9 one frame", "vp9", "vp9 variable rate"):
        path.write_bytes(write(make_clip, name, HOST[name]).read_bytes())
        source = host.open(path, SELECTOR)
        assert isinstance(source, DaliSource)
        assert_same(read(source, SELECTOR), plain(path, SELECTOR)[1])
        assert not source.warnings


@pytest.mark.parametrize(
    "name", ["with space.webm", "two\nlines.webm", "-", "file:concat:a|b.webm", "ü.webm"]
)
def test_names_of_files(host: DaliDecoder, vp9_webm: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(vp9_webm.read_bytes())
    source = host.open(path, SELECTOR)
    assert isinstance(source, DaliSource)
    assert len(read(source, SELECTOR)) == 8


def test_scripts_never_reach_dali(host: DaliDecoder, vp9_webm: Path) -> None:
    """Its FFmpeg would open the file that is named."""
    path = vp9_webm.parent / "script.webm"
    path.write_bytes(f"ffconcat version 1.0\nfile '{vp9_webm.name}'\n".encode())
    ((_, error),) = host.sources([path], SELECTOR)
    assert isinstance(error, VqafastError)
    assert error.code == "hostile_input"


def test_what_needs_no_dali(host: DaliDecoder, vp9_webm: Path, tmp_path: Path) -> None:
    with open(vp9_webm, "rb") as file:
        source = host.open(file)
        assert len(read(source, SELECTOR)) == 8
        assert "file object" in fallback(source)
        assert not file.closed
    path = tmp_path / "x.y4m"
    path.write_bytes(b"YUV4MPEG2 W32 H32 F25:1 C420\nFRAME\n" + bytes(32 * 32 * 3 // 2))
    with host.open(path) as y4m:
        assert y4m.warnings == []


def test_another_selector_than_announced(host: DaliDecoder, vp9_webm: Path) -> None:
    for announced in (None, EveryFrame()):
        source = host.open(vp9_webm, announced)
        assert_same(read(source, SELECTOR), plain(vp9_webm, SELECTOR)[1])
        assert not source.warnings


def test_a_source_is_read_once(host: DaliDecoder, vp9_webm: Path) -> None:
    with host.open(vp9_webm, SELECTOR) as source:
        list(source.frames(SELECTOR))
        with pytest.raises(Unsupported, match="read once"):
            next(iter(source.frames(SELECTOR)))
    source.close()
    closed = host.open(vp9_webm, SELECTOR)
    samples = closed.frames(EveryFrame())
    next(samples)
    closed.close()
    with pytest.raises(Unsupported, match="closed"):
        list(samples)


def test_frames_outlive_the_source(host: DaliDecoder, vp9_webm: Path) -> None:
    kept = read(host.open(vp9_webm, EveryFrame()), EveryFrame())
    assert_same(kept, plain(vp9_webm, EveryFrame())[1])


def test_nothing_is_left_behind(host: DaliDecoder, vp9_webm: Path, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        folders = [n for n in os.listdir(tempfile.gettempdir()) if n.startswith("vqafast-dali-")]
        return len(os.listdir("/proc/self/fd")), len(folders)

    cut = tmp_path / "cut.webm"
    clips.cut(vp9_webm, cut, 0.6)
    read(host.open(vp9_webm, SELECTOR), SELECTOR)
    before = held()
    for _ in range(5):
        endless = itertools.cycle([vp9_webm, cut, tmp_path / "missing.webm"])
        sources = host.sources(endless, SELECTOR)
        for _, source in itertools.islice(sources, 4):
            if not isinstance(source, VqafastError):
                samples = source.frames(SELECTOR)
                next(samples)
                source.close()
        sources.close()  # type: ignore[attr-defined]
    del source, samples
    assert held() == before


def test_sources_are_read_by_several_threads(host: DaliDecoder, make_clip: Any) -> None:
    paths = [write(make_clip, name, HOST[name]) for name in HOST] * 2
    sources, lock = host.sources(paths, SELECTOR), threading.Lock()
    found: list[tuple[Path, list[Sampled]]] = []

    def work() -> None:
        while True:
            with lock:
                item = next(sources, None)
            if item is None:
                return
            found.append((item[0], read(item[1], SELECTOR)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(path for path, _ in found) == sorted(paths)
    for path, samples in found:
        assert_same(samples, plain(path, SELECTOR)[1])


@pytest.mark.cuda
@pytest.mark.parametrize("name", DEVICE)
@pytest.mark.parametrize("selector", SELECTORS, ids=str)
def test_samples_on_a_gpu(make_clip: Any, name: str, selector: Selector) -> None:
    """Has never run. The standards define luma to the bit; chroma comes back from DALI's upsampling."""
    require_gpu()
    path = make_clip(f"accepted_{name}", DEVICE[name])
    source = DaliDecoder(device="cuda:0").open(path, selector)
    got = read(source, selector)
    reference, truth = plain(path, selector)
    assert source.warnings == reference.warnings
    assert source.info.decoder.endswith(", NVDEC)")
    assert {str(p.device) for s in got for f in s.frames for p in f.planes} == {"cuda:0"}
    assert_same(got, truth)


@pytest.mark.cuda
def test_a_batch_on_a_gpu(make_clip: Any, tmp_path: Path) -> None:
    """Has never run."""
    require_gpu()

    def zero_header(number: int, data: bytes) -> bytes:
        return data[:6] + bytes(len(data) - 6) if number == 30 else data

    good = [make_clip(f"accepted_{name}", DEVICE[name]) for name in DEVICE]
    broken = remux(good[0], tmp_path / "bad.mp4", zero_header)
    deep = make_clip("refused_x264_deep.mp4", Clip(pix_fmt="yuv420p10le"))
    paths = [*good[:3], broken, deep, *good[3:]]
    seen = []
    for path, source in DaliDecoder(device="cuda:0", batch=4).sources(paths, SELECTOR):
        seen.append(path)
        got = read(source, SELECTOR)
        if path == deep:
            assert "4:2:0 in 8 bits" in fallback(source)
        if path != broken:
            assert_same(got, plain(path, SELECTOR)[1])
    assert seen == paths


@pytest.mark.cuda
def test_planes_on_a_gpu_can_be_ingested(make_clip: Any) -> None:
    """Has never run."""
    torch = require_gpu()
    path = make_clip("accepted_x264.mp4", DEVICE["x264.mp4"])
    got = read(DaliDecoder(device="cuda:0").open(path, SELECTOR), SELECTOR)
    for mine, theirs in zip(got, plain(path, SELECTOR)[1], strict=True):
        out = torch.empty((1, 3, 144, 256), device="cuda:0")
        frame_ingest(mine.frames[0], [(0, 0, 256, 144)], (144, 256), out=out)
        torch.cuda.synchronize()
        truth = frame_ingest(theirs.frames[0], [(0, 0, 256, 144)], (144, 256))
        assert np.abs(out.cpu().numpy() - truth).max() * 255 <= 2.12
