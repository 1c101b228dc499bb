"""Pictures that are not the whole of a surface, and streams that change: what a card gives is the CPU's.

All by FFmpeg's own code on the emulated card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from tests import clips

from vqafast.video.pyav import PyAVSource

from . import card
from .reading import EVERY, ON_THE_EMULATED_CARD, fallbacks, host, lumas, messages, same

if TYPE_CHECKING:
    from pathlib import Path

    from vqafast.video.source import Sampled

pytestmark = [*ON_THE_EMULATED_CARD, pytest.mark.usefixtures("whole_card")]


def raw(
    codec: str,
    frames: int,
    width: int = 320,
    height: int = 192,
    pix_fmt: str = "yuv420p",
    first: int = 0,
) -> clips.Clip:
    """Coded in the order of time, as the pictures of a raw stream have no other."""
    encoder, options = {
        "h264": ("libx264", {"bf": "0"}),
        "hevc": ("libx265", {"x265-params": "log-level=none:bframes=0"}),
    }[codec]
    return clips.Clip(encoder, frames, width, height, pix_fmt=pix_fmt, options=options, first=first)


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


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("option", ["crop_left=8", "crop_top=4", "crop_bottom=4"])
def test_a_crop_that_changes(codec: str, option: str, tmp_path: Path) -> None:
    """NVDEC's pictures do not say at which side it is; those at the right and the bottom would be right."""
    clips.encode(tmp_path / f"a.{codec}", raw(codec, 12), codec)
    crop(tmp_path / f"b.{codec}", codec, option, first=12)
    path = tmp_path / f"all.{codec}"
    path.write_bytes(b"".join((tmp_path / f"{name}.{codec}").read_bytes() for name in "ab"))
    with PyAVSource(str(path)) as source:
        truth = lumas(source.frames(EVERY))
        on_cpu = source.info.decoder
    with PyAVSource(str(path), gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    (said,) = fallbacks(source)
    assert said.startswith("decoded on the CPU from there on: the stream changes to 3")
    assert source.info.decoder == f"{codec} (NVDEC, FFmpeg {av.ffmpeg_version_info}), then {on_cpu}"


@pytest.mark.parametrize("encoder", ["libvpx", "libvpx-vp9"])
@pytest.mark.parametrize(("width", "height"), [(352, 208), (321, 192), (320, 181)])
def test_a_call_that_changes_its_size(encoder: str, width: int, height: int, tmp_path: Path) -> None:
    """WebRTC does that, within one stream."""
    path = tmp_path / "all.webm"
    parts = [clips.Clip(encoder, 12, 320, 192), clips.Clip(encoder, 12, width, height, first=12)]
    with av.open(str(path), "w") as out:
        stream: Any = None
        for i, part in enumerate(parts):
            clips.encode(tmp_path / f"{i}.webm", part)
            with av.open(str(tmp_path / f"{i}.webm")) as one:
                stream = stream or out.add_stream_from_template(one.streams.video[0])
                for packet in one.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = packet.pts + 500 * i
                        out.mux(packet)
    with PyAVSource(str(path)) as source:
        truth = lumas(source.frames(EVERY))
    assert [luma.shape for _, _, luma in truth] == [(192, 320)] * 12 + [(height, width)] * 12
    with PyAVSource(str(path), gpu=0) as source:
        same(lumas(source.frames(EVERY)), truth)
    assert "NVDEC" in source.info.decoder
    # FFmpeg keeps NVDEC's decoder there, for pictures of the size before.
    assert len(fallbacks(source)) == (encoder == "libvpx" or width % 2 or height % 2)


def test_pictures_below_what_the_card_takes(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    clips.encode(path, clips.Clip("libx265", frames=6, width=128, height=96))
    with PyAVSource(str(path), gpu=0) as source:
        assert len(list(source.frames(EVERY))) == 6
    assert messages(source) == [
        "decoded on the CPU: NVDEC does not decode hevc Main yuv420p, or the GPU has no memory left for it"
    ]


def crop(path: Path, codec: str, options: str, first: int = 0) -> None:
    """Write a raw stream that asks for another crop."""
    whole = path.with_name("whole." + codec)
    clips.encode(whole, raw(codec, 4, first=first), codec)
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
