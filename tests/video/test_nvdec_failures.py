"""A card that fails, has no memory, or cannot decode: no file is blamed, and nothing is kept.

All by FFmpeg's own code on the emulated card, which can be told to fail.
"""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from tests import clips
from tests.ops.cuda import CARD_EMULATED, require

from vqafast.errors import CorruptVideo, CudaError, NotAVideo
from vqafast.video.nvdec import nvdec_obstacle, to_host
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount
from vqafast.video.shots import ShotDetector

from . import card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vqafast.video.source import Frame, Sampled

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not CARD_EMULATED, reason="needs the emulated card (tests/run_emulated_card.sh)"),
]

EVERY = EveryFrame(burst=1)
ILLEGAL_ADDRESS, UNKNOWN = 700, 999
#: What FFmpeg calls for every picture, and passes errors of on.
STEPS = ("cuvidDecodePicture", "cuvidMapVideoFrame64")


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    """The card works at the start of each test, and holds nothing at its end unless it broke."""
    require()
    card.mend()
    yield
    gc.collect()
    broken, kept = card.broken(), card.kept()
    card.mend()
    card.forget()
    assert broken or kept == {"memory": 0, "decoders": 0, "mapped": 0}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("card") / "x.mp4"
    clips.encode(file, clips.Clip(width=320, height=192))
    return str(file)


@pytest.fixture(scope="module")
def truth(path: str) -> list[Any]:
    with PyAVSource(path) as source:
        return lumas(source.frames(EVERY))


def lumas(samples: Iterator[Sampled]) -> list[Any]:
    return [(s.k, s.frames[0].pts, host(s.frames[0])) for s in samples]


def host(frame: Frame) -> Any:
    """Luma, copied."""
    return np.array(to_host(frame).planes[0])


def same(got: list[Any], truth: list[Any]) -> None:
    assert [(k, pts) for k, pts, _ in got] == [(k, pts) for k, pts, _ in truth]
    for mine, theirs in zip(got, truth, strict=True):
        np.testing.assert_array_equal(mine[2], theirs[2])


def messages(source: PyAVSource) -> list[str]:
    # Raw streams have no times.
    others = {w.code for w in source.warnings} - {"decoder_fallback", "missing_timestamps"}
    assert others == set()
    return [w.message for w in source.warnings if w.code == "decoder_fallback"]


def test_a_card_that_works_gives_back_what_it_took(path: str, truth: list[Any]) -> None:
    with PyAVSource(path, gpu=0) as source:
        assert card.kept()["decoders"] == 1
        same(lumas(source.frames(EVERY)), truth)
    assert messages(source) == []
    assert card.count("unknown pictures") == 0


def test_memory_goes_when_the_last_of_the_frames_goes(path: str) -> None:
    with PyAVSource(path, gpu=0) as source:
        planes = [s.frames[0].planes[0] for s in source.frames(EVERY)]
        picture = 320 * 192 * 3 // 2
        assert card.kept()["memory"] > len(planes) * picture
    del source
    gc.collect()
    assert card.kept()["memory"] > len(planes) * picture
    assert card.kept()["decoders"] <= 1  # FFmpeg's pictures hold their decoder
    del planes


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_picture_that_the_card_refuses(step: str, after: int, path: str, truth: list[Any]) -> None:
    """FFmpeg may give the picture out all the same, unwritten."""
    card.fail(step, after, UNKNOWN)
    with PyAVSource(path, gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    (said,) = messages(source)
    assert said.startswith("decoded on the CPU")
    assert "NVDEC refused a picture" in said
    assert ("from there on" in said) == (after == 10)
    assert (source.counts.decoded, source.counts.lost) == (48, 0)


@pytest.mark.parametrize("step", STEPS)
def test_the_last_picture_is_refused(step: str, path: str, truth: list[Any]) -> None:
    with PyAVSource(path, gpu=0) as source:
        for _ in source.frames(EVERY):
            pass
    calls = card.count(step)
    card.mend()
    card.fail(step, calls - 1, UNKNOWN)
    with PyAVSource(path, gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    assert len(messages(source)) == 1


@pytest.mark.parametrize("step", [*STEPS, "cuMemcpy2DAsync_v2"])
@pytest.mark.parametrize("after", [0, 10])
def test_a_card_that_breaks(step: str, after: int, path: str) -> None:
    """Nothing can be computed on it any more, so the CPU does not go on as if nothing had happened."""
    card.fail(step, after, ILLEGAL_ADDRESS, breaks=True)
    with (
        pytest.raises(
            CudaError, match=r"GPU 0 cannot be used .* any more: .*CUDA_ERROR_ILLEGAL_ADDRESS"
        ) as caught,
        PyAVSource(path, gpu=0) as source,
    ):
        list(source.frames(EVERY))
    assert caught.value.path == path


def test_memory_runs_out_when_the_decoder_is_made(path: str, truth: list[Any]) -> None:
    card.limit(1000)
    with PyAVSource(path, gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    assert messages(source) == [
        "decoded on the CPU: NVDEC does not decode h264 High yuv420p, or the GPU has no memory left for it"
    ]


@pytest.mark.parametrize("selector", [EVERY, TimeGrid(4, burst=2), UniformCount(5)])
def test_memory_runs_out_on_the_way(selector: Any, path: str) -> None:
    with PyAVSource(path) as source:
        truth = lumas(source.frames(selector))
        counts = source.counts
    with PyAVSource(path, gpu=0) as source:
        card.limit(card.kept()["memory"] + 100_000)
        same(lumas(source.frames(selector)), truth)
    (said,) = messages(source)
    assert said.startswith("decoded on the CPU")
    assert said.endswith("the GPU's memory is full; score fewer videos at once")
    assert source.counts == counts


def test_parts_of_a_video_are_those_of_one_pass(path: str) -> None:
    """Key frames and shots that were noted before the card failed are not noted twice."""

    def marks(gpu: int | None) -> Any:
        with PyAVSource(path, gpu=gpu) as source:
            source.marks.shots = ShotDetector(change=0.01, ratio=1.0)
            if gpu is not None:
                card.fail("cuvidDecodePicture", 20, UNKNOWN)
            assert len(list(source.frames(EVERY))) == 48
        assert source.marks.shots is not None
        return source.marks.keys, source.marks.shots.cuts(), source.marks.shots._changes, source.marks.end

    assert marks(0) == marks(None)


def test_a_card_that_cannot_be_opened_again(path: str) -> None:
    """Each pass over a file opens it again, with FFmpeg's device for the card."""
    with PyAVSource(path) as source:
        records = source.packet_records()
        truth = lumas(source.frames(UniformCount(5)))
    with PyAVSource(path, gpu=0) as source:
        card.fail("cuCtxGetCurrent", 0, UNKNOWN)
        assert source.packet_records() == records
        same(lumas(source.frames(UniformCount(5))), truth)
    (said,) = messages(source)
    assert said.startswith("decoded on the CPU: the file cannot be opened with NVDEC any more (")


def test_a_file_without_pictures_is_still_the_file_s_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=4, width=320, height=192))
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    for gpu in (None, 0):
        with pytest.raises(CorruptVideo, match="got none from 4 packets"):
            PyAVSource(str(path), gpu=gpu)


def test_a_card_that_fails_at_this_file(path: str, truth: list[Any]) -> None:
    """It answered when it was asked for the first time."""
    assert nvdec_obstacle(0) is None
    card.fail("cuCtxGetCurrent", 0, UNKNOWN)
    with PyAVSource(path, gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    (said,) = messages(source)
    assert said.startswith("decoded on the CPU: the file cannot be opened with NVDEC (")


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"this is no video" * 100)
    for gpu in (0, None):
        with pytest.raises(NotAVideo, match=r"bad\.mp4: "):
            PyAVSource(str(path), gpu=gpu)


def raw(codec: str, frames: int, width: int = 320, height: int = 192, pix_fmt: str = "yuv420p") -> clips.Clip:
    """Coded in the order of time, as the pictures of a raw stream have no other."""
    encoder, options = {
        "h264": ("libx264", {"bf": "0"}),
        "hevc": ("libx265", {"x265-params": "log-level=none:bframes=0"}),
    }[codec]
    return clips.Clip(encoder, frames, width, height, pix_fmt=pix_fmt, options=options)


def joined(tmp_path: Path, parts: list[clips.Clip], codec: str) -> str:
    """Raw streams, one behind the other."""
    data = b""
    for i, clip in enumerate(parts):
        part = tmp_path / f"{i}.{codec}"
        clips.encode(part, clip, codec)
        data += part.read_bytes()
    path = tmp_path / f"all.{codec}"
    path.write_bytes(data)
    return str(path)


CHANGES: dict[str, tuple[str, clips.Clip, bool]] = {
    "another size": ("h264", raw("h264", 12, 384, 256), True),
    "10 bits": ("hevc", raw("hevc", 12, pix_fmt="yuv420p10le"), True),
    "4:4:4": ("hevc", raw("hevc", 12, pix_fmt="yuv444p"), False),
    "too small for the card": ("hevc", raw("hevc", 12, 128, 96), False),
    "4:2:2": ("h264", raw("h264", 12, pix_fmt="yuv422p"), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_stream_that_changes(name: str, tmp_path: Path) -> None:
    codec, after, by_card = CHANGES[name]
    path = joined(tmp_path, [raw(codec, 12), after], codec)
    with PyAVSource(path) as source:
        truth = [planes_of(s) for s in source.frames(EVERY)]
    with PyAVSource(path, gpu=0) as source:
        got = [planes_of(s) for s in source.frames(EVERY)]
    assert len(got) == len(truth) == 24
    for mine, theirs in zip(got, truth, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    codes = [w.code for w in source.warnings]
    assert "NVDEC" in source.info.decoder
    assert ("decoder_fallback" in codes) == (not by_card)


def planes_of(sampled: Sampled) -> Any:
    frame = sampled.frames[0]
    luma = host(frame)
    return luma >> (16 - frame.layout.bit_depth) if frame.layout.msb_aligned else luma


def test_pictures_below_what_the_card_takes(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip("libx265", frames=6, width=128, height=96))
    with PyAVSource(str(path), gpu=0) as source:
        assert len(list(source.frames(EVERY))) == 6
    assert messages(source) == [
        "decoded on the CPU: NVDEC does not decode hevc Main yuv420p, or the GPU has no memory left for it"
    ]


def crop(path: Path, codec: str, options: str) -> None:
    """Write a raw stream that asks for another crop."""
    whole = path.with_name("whole." + codec)
    clips.encode(whole, raw(codec, 4), codec)
    with av.open(str(whole)) as source:
        change = BitStreamFilterContext(f"{codec}_metadata={options}", source.streams.video[0])
        packets = [out for p in source.demux(video=0) for out in change.filter(p if p.size else None)]
    path.write_bytes(b"".join(bytes(p) for p in packets))
    card.learn(path)


SIZES: dict[str, tuple[str, clips.Clip | str]] = {
    "h264 1080": ("mp4", clips.Clip(frames=4, width=128, height=1080)),
    "hevc 1084": ("mp4", clips.Clip("libx265", 4, 160, 1084)),
    "vp8": ("webm", clips.Clip("libvpx", 4, 320, 180)),
    "vp9": ("mp4", clips.Clip("libvpx-vp9", 4, 322, 182)),
    "h264 right and bottom": ("h264", "crop_right=6:crop_bottom=4"),
    "hevc right and bottom": ("hevc", "crop_right=6:crop_bottom=4"),
    "odd vp8": ("webm", clips.Clip("libvpx", 4, 321, 181)),
    "odd vp9": ("mp4", clips.Clip("libvpx-vp9", 4, 321, 181)),
    "odd h264, as the container says": ("mp4", clips.Clip(frames=4, width=320, height=192)),
    "left h264": ("h264", "crop_left=8"),
    "left hevc": ("hevc", "crop_left=8"),
    "top h264": ("h264", "crop_top=4"),
    "top hevc": ("hevc", "crop_top=4"),
}


@pytest.mark.parametrize("name", SIZES)
def test_pictures_that_are_not_the_whole_surface(name: str, tmp_path: Path) -> None:
    """FFmpeg takes the crop at the right and the bottom off a surface with even sides, and no other."""
    extension, made = SIZES[name]
    path = tmp_path / f"x.{extension}"
    if isinstance(made, clips.Clip):
        clips.encode(path, made)
    else:
        crop(path, extension, made)
    if "container" in name:
        clips.declare_size(path, path, 319, 191)
    with PyAVSource(str(path)) as source:
        truth = lumas(source.frames(EVERY))
    with PyAVSource(str(path), gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    cpu = name.startswith(("odd", "left", "top"))
    assert ("NVDEC" not in source.info.decoder) == cpu
    said = messages(source)
    assert len(said) == cpu
    if cpu:
        assert said[0].startswith("decoded on the CPU: NVDEC does not give the ")


def test_interlaced_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip(frames=12, width=320, height=192, options={"x264-params": "tff=1"}))
    with PyAVSource(str(path)) as source:
        truth = lumas(source.frames(EVERY))
        codes = [w.code for w in source.warnings]
    assert "interlaced" in codes
    with PyAVSource(str(path), gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    assert [w.code for w in source.warnings] == codes
    assert "NVDEC" in source.info.decoder


def test_several_files_at_once(path: str, truth: list[Any]) -> None:
    """Each in a thread of its own, opened in another one, as scoring does it."""
    sources = [PyAVSource(path, gpu=0) for _ in range(6)]
    assert card.kept()["decoders"] == 6
    got: list[list[Any]] = [[] for _ in sources]

    def read(source: PyAVSource, into: list[Any]) -> None:
        into.extend(lumas(source.frames(EVERY)))

    threads = [threading.Thread(target=read, args=pair) for pair in zip(sources, got, strict=True)]
    for step in ("start", "join"):
        for thread in threads:
            getattr(thread, step)()
    for source, mine in zip(sources, got, strict=True):
        source.close()
        same(mine, truth)
        assert messages(source) == []


@pytest.mark.parametrize("stop", [1, 20])
def test_a_reader_that_stops_early(stop: int, path: str) -> None:
    with PyAVSource(path, gpu=0) as source:
        for i, _ in enumerate(source.frames(EVERY), 1):
            if i == stop:
                break


def damaged(whole: str, path: Path, seed: int) -> str:
    data = bytearray(Path(whole).read_bytes())
    rng = np.random.default_rng(seed)
    start = int(rng.integers(len(data) // 8, len(data) - 300))
    data[start : start + 200] = rng.bytes(200)
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("seed", range(12))
def test_damage_ends_on_a_card_as_it_ends_on_the_cpu(seed: int, path: str, tmp_path: Path) -> None:
    """What the card makes of the bits of a damaged slice is its own affair; all else is FFmpeg's."""

    def outcome(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:
            return type(error)

    broken = damaged(path, tmp_path / "broken.mp4", seed)

    def read(gpu: int | None) -> Any:
        with PyAVSource(broken, gpu=gpu) as source:
            pts = [s.frames[0].pts for s in source.frames(EVERY)]
        assert not {w.code for w in source.warnings} & {"decoder_fallback"}
        return pts

    cpu, on_card = outcome(lambda: read(None)), outcome(lambda: read(0))
    if isinstance(cpu, list):
        # Pictures that the CPU marks as damaged are not handed out; a card marks none.
        assert set(cpu) <= set(on_card)
    else:
        assert on_card == cpu
