"""What DALI would decode wrongly, by its file alone: indices, sizes, timestamps, packets. None needs DALI."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests import clips
from tests.clips import Clip
from tests.video.test_dali_plan import ACCEPTED, REALTIME, X265, large, remux, timeline

from vqafast.errors import EngineUnavailable
from vqafast.video import dali_pipeline, nvdec
from vqafast.video.bitstream import NalReader
from vqafast.video.dali import DaliDecoder
from vqafast.video.dali_container import declared_size, seeks_land
from vqafast.video.dali_nvdec import LIMITS, DecoderSizes, PictureSize, beyond_nvdec
from vqafast.video.dali_pipeline import Backend, DaliFailed, RangeReader
from vqafast.video.dali_plan import GPU_CODECS, NotForDali
from vqafast.video.open import open_regular
from vqafast.video.pyav import PyAVSource
from vqafast.video.sampling import TimeGrid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CUES, CUE_POINT, CRC, VOID = b"\x1c\x53\xbb\x6b", b"\xbb", b"\xbf", b"\xec"
SPARSE = Clip("libvpx-vp9", frames=96, options=REALTIME)


def element(data: bytes, at: int) -> tuple[int, int]:
    """Begin and end of the content of an EBML element whose size is at `at`."""
    length = 9 - data[at].bit_length()
    size = int.from_bytes(data[at : at + length], "big") & (1 << 7 * length) - 1
    return at + length, at + length + size


def thin_cues(source: Path, target: Path, keep: Callable[[int, int], bool]) -> Path:
    """Copy a Matroska file without the cues for which `keep(number, count)` is false."""
    data = bytearray(source.read_bytes())
    at, end = element(data, data.rindex(CUES) + len(CUES))
    points = []
    while at < end:
        if bytes(data[at : at + 1]) == CRC:
            # The checksum is made void by its id, its content is as long as it was.
            data[at : at + 1] = VOID
        elif bytes(data[at : at + 1]) == CUE_POINT:
            points.append(at)
        at = element(data, at + 1)[1]
    for number, point in enumerate(points):
        if not keep(number, len(points)):
            data[point : point + 1] = VOID
    target.write_bytes(data)
    return target


def test_seeks_that_miss_their_key_frame(make_clip: Any, tmp_path: Path) -> None:
    whole = make_clip("cues.webm", SPARSE)
    found = timeline(whole, gpu=False)
    assert list(found.keys) == list(found.ticks[::12])
    ranges = found.ranges(TimeGrid(1, burst=2))
    assert ranges == [(0, 2), (24, 26), (48, 50), (72, 74)]
    keys = found.sought(ranges)
    assert list(keys) == [found.ticks[n] for n in (24, 48, 72)]
    assert list(found.sought([(0, 2), (11, 14), (25, 26), (35, 37)])) == [found.ticks[24]]
    sparse = thin_cues(whole, tmp_path / "sparse.webm", lambda number, count: number in (0, count - 1))
    for path, lands in ((whole, True), (sparse, False)):
        with open_regular(path) as file:
            assert seeks_land(file, "matroska,webm", keys) is lands
            assert seeks_land(file, "matroska,webm", keys[-1:] * 2) is False
            assert not file.closed


@pytest.mark.parametrize("name", [name for name, (_, seekable) in ACCEPTED.items() if seekable])
def test_seeks_that_find_their_key_frame(make_clip: Any, name: str) -> None:
    path = make_clip(f"accepted_{name}", ACCEPTED[name][0])
    found = timeline(path)
    with PyAVSource(path) as source, open_regular(path) as file:
        assert set(found.keys) <= set(found.ticks)
        assert seeks_land(file, source.info.container, found.keys)


def lie(path: Path, target: Path) -> Path:
    """Copy a file of 256x144, which then says 512x288."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".mp4":
        clips.declare_size(path, target, 512, 288)
        return target
    if path.suffix == ".ivf":
        data[12:16] = (512).to_bytes(2, "little") + (288).to_bytes(2, "little")
    else:
        for name, size, other in ((b"\xb0\x82", 256, 512), (b"\xba\x81", 144, 288)):
            width = name[1] & 15
            at = data.index(name + size.to_bytes(width, "big")) + 2
            # One byte is too few for 288: half is a lie as well.
            data[at : at + width] = (other if width == 2 else size // 2).to_bytes(width, "big")
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("name", ["x264.mp4", "x264.mkv", "vp9.webm", "vp8.webm", "vp9.ivf"])
def test_containers_that_lie_about_the_size(make_clip: Any, tmp_path: Path, name: str) -> None:
    path = make_clip(f"accepted_{name}", ACCEPTED[name][0])
    with PyAVSource(path) as source, open_regular(path) as file:
        container = source.info.container
        assert declared_size(file, container) == (256, 144)
        assert not file.closed
    liar = lie(path, tmp_path / name)
    with open_regular(liar) as file:
        width, height = declared_size(file, container)
    assert (width, height) in ((512, 288), (512, 72))
    for gpu in (True, False) if name.startswith("vp") else (True,):
        with pytest.raises(NotForDali, match=f"must be {width}x{height} as the container says, got 256x144"):
            timeline(liar, gpu=gpu)


def test_a_container_without_a_size(tmp_path: Path) -> None:
    path = tmp_path / "none.webm"
    path.write_bytes(b"no container" * 100)
    with open_regular(path) as file:
        assert declared_size(file, "matroska,webm") == (0, 0)
        assert not seeks_land(file, "matroska,webm", [0])


def test_timestamps_of_more_than_31_bits(make_clip: Any) -> None:
    clip = large(
        "libvpx-vp9",
        frames=4,
        times=[0, 1, 24 * 110, 24 * 215],
        options=REALTIME,
        muxer={"video_track_timescale": "10000000"},
    )
    path = make_clip("ticks.mp4", clip)
    assert timeline(path, gpu=False).ticks[-1] == 2_150_000_000
    with pytest.raises(NotForDali, match="less than 2147483648 ticks, got 2150000000"):
        timeline(path)


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("x264.mp4", b"\x09\xf0"),  # a delimiter alone
        ("x264.mkv", b"\x06\x05\x01\x00\x80"),  # supplemental information alone
        ("x264_open.mp4", b"\x74\x88\x80"),  # a slice of another layer (type 20)
        ("x265_closed.mp4", b"\x46\x01\x50"),  # a delimiter
        ("x265_closed.mp4", b"\x2c\x01\x80"),  # a slice of a reserved type (22)
    ],
)
def test_packets_without_a_picture(make_clip: Any, tmp_path: Path, name: str, packet: bytes) -> None:
    """Each takes a timestamp, which DALI would give to the next picture."""

    def edit(number: int, data: bytes) -> bytes:
        return len(packet).to_bytes(4, "big") + packet if number == 30 else data

    path = make_clip(f"accepted_{name}", ACCEPTED[name][0])
    with pytest.raises(NotForDali, match="a packet holds no picture"):
        timeline(remux(path, tmp_path / name, edit))


def test_pictures_are_found_in_packets() -> None:
    h264, hevc = NalReader("h264", None), NalReader("hevc", None)
    for reader, units, found in (
        (h264, (b"\x09\xf0",), False),
        (h264, (b"\x09\xf0", b"\x41\x9a"), True),
        (h264, (b"\x67\x42", b"\x68\xce", b"\x65\x88"), True),
        (h264, (), False),
        (hevc, (b"\x46\x01\x50",), False),
        (hevc, (b"\x46\x01\x50", b"\x02\x01\xd0"), True),
        (hevc, (b"\x2a\x01\x80",), True),
        (hevc, (b"\x2c\x01\x80",), False),
        (hevc, (b"\x14\x01\x80",), False),
    ):
        reader.read(memoryview(b"".join(b"\0\0\1" + unit for unit in units)))
        assert reader.found_picture is found


@pytest.mark.parametrize(
    ("codec", "size", "fits"),
    [
        ("h264", (48, 16), True),
        ("h264", (32, 32), False),
        ("h264", (4096, 4096), True),
        ("h264", (4112, 2160), False),
        ("hevc", (144, 144), True),
        ("hevc", (256, 136), False),
        ("hevc", (8192, 4320), True),
        ("hevc", (4320, 8200), False),
        ("vp9", (128, 128), True),
        ("vp9", (160, 96), False),
        ("vp8", (48, 16), True),
        ("vp8", (4098, 16), False),
    ],
)
def test_limits_of_nvdec(codec: str, size: tuple[int, int], fits: bool) -> None:
    obstacle = beyond_nvdec(codec, size)
    assert (obstacle is None) == fits
    if obstacle is not None:
        assert f"for NVDEC, got {size[0]}x{size[1]}" in obstacle


def test_every_codec_has_limits() -> None:
    assert tuple(sorted(LIMITS)) == tuple(sorted(GPU_CODECS))


def test_pictures_beyond_the_limits_of_nvdec(make_clip: Any, vp9_webm: Path) -> None:
    assert timeline(vp9_webm, gpu=False).coded is None
    with pytest.raises(NotForDali, match="vp9 must be 128x128 to 8192x8192 for NVDEC, got 160x96"):
        timeline(vp9_webm)
    small = make_clip("small.mp4", Clip("libx265", options={"x265-params": X265 + "keyint=12"}))
    with pytest.raises(NotForDali, match="hevc must be 144x144 to 8192x8192 for NVDEC, got 160x96"):
        timeline(small)


def test_the_coded_size(make_clip: Any) -> None:
    for name, coded in (("x264.mp4", (256, 144)), ("x264_cropped.mp4", (256, 160)), ("vp8.webm", (256, 144))):
        assert timeline(make_clip(f"accepted_{name}", ACCEPTED[name][0])).coded == coded


def size(coded: int, shown: int | None = None) -> PictureSize:
    return PictureSize((640, coded), (640, shown or coded))


@pytest.mark.parametrize(
    ("codec", "first", "second", "apart"),
    [
        ("h264", size(368), size(368, 360), False),  # a decoder of 368 rows would serve 360
        ("h264", size(368, 360), size(368, 362), True),  # neither is found by its coded size
        ("h264", size(368, 360), size(368, 360), True),
        ("h264", size(368), size(384), True),
        ("h264", size(368), size(384, 368), False),
        ("hevc", size(368, 360), size(360), False),  # noted as 360 rows, made for 368
        ("vp9", size(368), size(360), False),  # perhaps coded as 368
        ("vp9", size(360), size(352), True),
    ],
)
def test_sizes_that_share_a_decoder_of_dali(
    codec: str, first: PictureSize, second: PictureSize, apart: bool
) -> None:
    for one, other in ((first, second), (second, first)):
        sizes = DecoderSizes()
        assert sizes.claim(0, codec, one) is None
        refused = sizes.claim(0, codec, other)
        assert (refused is None) == apart
        assert sizes.claim(0, codec, one) is None
        assert sizes.claim(1, codec, other) is None
        assert sizes.claim(0, "av1", other) is None
        # What was refused is not noted: it stands in nobody's way.
        assert (sizes.claim(0, codec, other) is None) == apart


def test_one_of_two_sizes_wins_in_every_thread() -> None:
    sizes, begin = DecoderSizes(), threading.Barrier(8)
    won: list[PictureSize] = []

    def claim(pictures: PictureSize) -> None:
        begin.wait()
        if sizes.claim(0, "h264", pictures) is None:
            won.append(pictures)

    threads = [threading.Thread(target=claim, args=(size(368, (360, 368)[n % 2]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 4
    assert len(set(won)) == 1


def test_a_size_that_may_share_a_decoder_never_reaches_dali(
    make_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = DecoderSizes()
    assert sizes.claim(0, "h264", PictureSize((256, 160), (256, 160))) is None
    monkeypatch.setattr(dali_pipeline, "DECODER_SIZES", sizes)
    path = make_clip("accepted_x264_cropped.mp4", ACCEPTED["x264_cropped.mp4"][0])
    with PyAVSource(path) as source, open_regular(path) as file:
        for gpu in (0, 1):
            backend = Backend("0", f"cuda:{gpu}", gpu)
            monkeypatch.setattr(RangeReader, "_build", lambda self, file: SimpleNamespace(schedule_run=int))
            if gpu == 0:
                with pytest.raises(DaliFailed, match="256x150 cropped out of 256x160 as 256x160"):
                    RangeReader(backend, file, source.info, timeline(path), [(0, 1)])
            else:
                RangeReader(backend, file, source.info, timeline(path), [(0, 1)]).close()


def test_without_the_video_library_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was given the GPU for computing only."""
    monkeypatch.setattr(dali_pipeline, "probe", lambda: SimpleNamespace(reason=None))
    monkeypatch.setattr(nvdec, "VIDEO_LIBRARY", "libvqafast-no-such.so.1")
    with pytest.raises(EngineUnavailable, match=r"no-such.*NVIDIA_DRIVER_CAPABILITIES must include video"):
        DaliDecoder(device="cuda:0")
