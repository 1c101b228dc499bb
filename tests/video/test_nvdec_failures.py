"""A card that fails, has no memory, or cannot decode: no file is blamed, and nothing is kept.

All by FFmpeg's own code on the emulated card, which can be told to fail.
"""

from __future__ import annotations

import gc
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips

from vqafast.errors import CorruptVideo, CudaError, NotAVideo
from vqafast.video.decoder import Decoder
from vqafast.video.nvdec import nvdec_obstacle
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount
from vqafast.video.shots import ShotDetector

from . import card
from .reading import EVERY, ON_THE_EMULATED_CARD, lumas, messages, same

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = [*ON_THE_EMULATED_CARD, pytest.mark.usefixtures("whole_card")]

ILLEGAL_ADDRESS, UNKNOWN = 700, 999
#: What FFmpeg calls for every picture, and passes errors of on.
STEPS = ("cuvidDecodePicture", "cuvidMapVideoFrame64")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("card") / "x.mp4"
    clips.encode(file, clips.Clip(width=320, height=192))
    return str(file)


@pytest.fixture(scope="module")
def truth(path: str) -> list[Any]:
    with PyAVSource(path) as source:
        return lumas(source.frames(EVERY))


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


# FFmpeg says that memory is full when it is refused, for whatever reason.
@pytest.mark.parametrize("step", [*STEPS, "cuMemcpy2DAsync_v2", "cuMemAlloc_v2"])
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
            source.marks.shots = detector = ShotDetector(change=0.01, ratio=1.0)
            if gpu is not None:
                card.fail("cuvidDecodePicture", 20, UNKNOWN)
            assert len(list(source.frames(EVERY))) == 48
        assert source.marks.shots is detector
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
    assert said == "decoded on the CPU: the file cannot be opened with NVDEC any more"
    assert "NVDEC" not in source.info.decoder
    assert not source.info.layout.semi_planar


@pytest.mark.parametrize("records", [False, True])
def test_a_card_that_broke_before_a_file_is_read_again(records: bool, path: str) -> None:
    """The CPU does not go on, here neither."""
    with PyAVSource(path, gpu=0) as source:
        card.fail("cuCtxGetCurrent", 0, ILLEGAL_ADDRESS, breaks=True)
        with pytest.raises(CudaError, match=r"x\.mp4: GPU 0 cannot be used .* any more"):
            source.packet_records() if records else list(source.frames(UniformCount(5)))


def test_a_second_failure_is_the_reason_that_is_given(path: str, truth: list[Any]) -> None:
    """In place of a first one, after which the card went on."""
    with PyAVSource(path, gpu=0) as source:
        source._pictures.warn("decoder_fallback", "decoded on the CPU in part: ...")
        card.fail("cuvidDecodePicture", 20, UNKNOWN)
        same(lumas(source.frames(EVERY)), truth)
    assert messages(source) == ["decoded on the CPU from there on: NVDEC refused a picture"]
    assert re.fullmatch(
        r"h264 \(NVDEC, FFmpeg .*\), then h264 \(FFmpeg .*, frame threads \d+\)", source.info.decoder
    )


def test_calling_off_while_the_cpu_catches_up(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives no sample for a while then, in a file of two hours for minutes."""
    decoded = []
    send = Decoder.decode

    def decode(self: Decoder, packet: Any) -> Any:
        decoded.append(packet)
        if not self.hardware:
            source.cancel()
        return send(self, packet)

    with PyAVSource(path, gpu=0) as source:
        samples = source.frames(EVERY)
        for _ in range(30):
            next(samples)
        monkeypatch.setattr(Decoder, "decode", decode)
        card.fail("cuvidDecodePicture", 0, UNKNOWN)
        late = [sampled.k for sampled in samples]
    # What the card had decoded still came.
    assert late == list(range(30, 30 + len(late)))
    assert len(late) < 8
    assert len(decoded) < 20


def test_nothing_of_the_card_is_kept_while_the_cpu_goes_on(path: str) -> None:
    with PyAVSource(path, gpu=0) as source:
        kept = []
        for i, sampled in enumerate(source.frames(EveryFrame(burst=8))):
            if i == 20:
                card.fail("cuvidDecodePicture", 0, UNKNOWN)
            del sampled
            kept.append(card.kept())
    assert kept[20]["memory"] > 0
    assert kept[-1] == {"memory": 0, "decoders": 0, "mapped": 0}


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
