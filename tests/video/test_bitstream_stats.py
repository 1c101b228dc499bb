"""What packets tell: the numbers against their definitions, and against encoders that are told what to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from tests import clips

from vqafast import video
from vqafast.errors import InvalidArgument, MissingFile, NotAVideo, Unsupported
from vqafast.video.bitstream_stats import (
    BITSTREAM_FEATURES,
    QP_PICTURES,
    PacketRecords,
    _EvenlySpread,
    bitstream_features,
    features,
)
from vqafast.video.sampling import EveryFrame

if TYPE_CHECKING:
    from pathlib import Path

X264 = {"threads": "1", "g": "24", "sc_threshold": "0"}


def records(sizes: list[int], keys: list[int], rate: float = 25.0, codec: str = "h264") -> PacketRecords:
    made = PacketRecords(codec, 100, 80, rate)
    for i, size in enumerate(sizes):
        made.add(size, key=i in keys, seconds=i / rate)
    return made


def test_definitions():
    sizes = [4000, 100, 200, 300, 6000, 400, 500, 600, 5000]
    got = features(records(sizes, [0, 4, 8]), 400, 320)
    inter = np.array([100, 200, 300, 400, 500, 600]) * 8 / 8000
    key_share = 1 / 50
    assert got["key_bits"] == pytest.approx(math.log2(5000 * 8 / 8000))
    assert got["inter_bits"] == pytest.approx(math.log2(inter.mean()))
    assert got["inter_bits_p90"] == pytest.approx(math.log2(np.percentile(inter, 90)))
    assert got["stream_bits"] == pytest.approx(math.log2(key_share * 5 + (1 - key_share) * inter.mean()))
    assert got["frame_rate"] == pytest.approx(math.log2(25))
    assert got["coded_area"] == pytest.approx(math.log2(8000))
    assert got["display_scale"] == pytest.approx(2)
    assert [got[f"codec_{c}"] for c in ("h264", "hevc", "av1", "vp9", "other")] == [1, 0, 0, 0, 0]
    assert (got["intra_only"], got["qp_known"], got["qp"], got["qp_spread"]) == (0, 0, 0, 0)
    assert tuple(got) == BITSTREAM_FEATURES


def test_more_of_the_same_changes_nothing():
    """Clips of a second and of a minute have the same features, whatever their key frames' distance."""
    rng = np.random.default_rng(0)
    short = [9000, *rng.integers(300, 500, 33)]
    long = [9000, *rng.integers(300, 500, 249)] * 6
    a = features(records([int(s) for s in short], [0]), 100, 80)
    b = features(records([int(s) for s in long], list(range(0, 1500, 250))), 100, 80)
    for name in BITSTREAM_FEATURES:
        assert a[name] == pytest.approx(b[name], abs=0.06), name


def test_intra_only_and_streams_without_key_frames():
    alone = features(records([1000] * 5, list(range(5))), 100, 80)
    assert alone["intra_only"] == 1
    assert alone["key_bits"] == alone["inter_bits"] == alone["stream_bits"] == pytest.approx(0)
    none = features(records([2000, 1000, 1000], []), 100, 80)
    assert (none["key_bits"], none["inter_bits"]) == (pytest.approx(1), pytest.approx(0))
    assert features(records([1000], [0], codec="mjpeg"), 100, 80)["codec_other"] == 1


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([0, 0.04, 0.08, 3.0, 3.04, 3.08, 3.12], 25),  # a gap
        ([0, 0.033, 0.067, 0.1, 0.133, 0.167, 0.2], 30),  # milliseconds
        ([0.08, 0.0, 0.04, 0.16, 0.12], 25),  # decoding order
        ([None, None, None], 50),  # as declared
        ([0.0, 0.0, 0.0], 50),
        ([0.0, 1e-9, 2e-9], 1000),
        ([0, 1e6, 2e6], 0.1),
    ],
)
def test_frame_rate(times, rate):
    made = PacketRecords("h264", 64, 64, 50.0)
    for seconds in times:
        made.add(100, key=False, seconds=seconds)
    assert 2 ** features(made, 64, 64)["frame_rate"] == pytest.approx(rate, rel=2e-3)


def test_arguments():
    with pytest.raises(InvalidArgument, match="packets must be there, got 64x64 from 100x80, 0 packets"):
        features(records([], []), 64, 64)
    with pytest.raises(InvalidArgument, match="sizes must be positive"):
        features(records([1], [0]), 0, 64)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 100, 1000])
def test_key_frames_are_spread_evenly(count):
    some = _EvenlySpread(QP_PICTURES)
    for i in range(count):
        some.add(i)
    kept = some.kept
    assert min(count, QP_PICTURES // 2) <= len(kept) <= QP_PICTURES
    assert kept[0] == 0
    assert len(set(np.diff(kept))) <= 1
    assert count - kept[-1] <= 2 * (kept[1] - kept[0] if len(kept) > 1 else 1)


def encoded(make_clip, name: str, **options: str) -> Path:
    return make_clip(name, clips.Clip(frames=72, width=320, height=192, options={**X264, **options}))


def test_quantiser_of_h264(make_clip):
    """A constant quantiser comes back, key frames at the offset that x264 gives them."""
    for qp in (20, 34):
        path = encoded(make_clip, f"qp{qp}.mp4", qp=str(qp), aq_mode="0")
        got = bitstream_features(path, 320, 192)
        # ipratio 1.4: the key frame's step is 1.4 times finer, 6 log2(1.4) = 2.9 lower
        assert got["qp_known"] == 1
        assert got["qp"] * 51 == pytest.approx(qp - 3, abs=0.5)
        assert got["qp_spread"] == pytest.approx(0, abs=1e-3)


def test_deep_h264_counts_like_8_bits(make_clip):
    """x264 itself counts a constant quantiser of 10-bit video from 12 below that of 8 bits."""
    clip = clips.Clip(
        frames=12, width=320, height=192, pix_fmt="yuv420p10le", options={**X264, "qp": "42", "aq_mode": "0"}
    )
    got = bitstream_features(make_clip("qp_deep.mp4", clip), 320, 192)
    assert got["qp"] * 51 == pytest.approx(27, abs=0.5)


def test_adaptive_quantisation_spreads(make_clip):
    got = bitstream_features(encoded(make_clip, "crf.mp4", crf="30"), 320, 192)
    assert got["qp_spread"] * 51 > 0.3


def test_coarser_is_smaller(make_clip):
    fine, coarse = (
        bitstream_features(encoded(make_clip, f"crf{crf}.mp4", crf=str(crf)), 640, 384) for crf in (20, 40)
    )
    for name in ("key_bits", "inter_bits", "inter_bits_p90", "stream_bits"):
        assert fine[name] > coarse[name] + 1
    assert fine["qp"] < coarse["qp"]
    assert fine["display_scale"] == coarse["display_scale"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("codec", "name", "known"),
    [("libx265", "hevc", 0), ("libvpx-vp9", "vp9", 1), ("libsvtav1", "av1", 0), ("mpeg4", "other", 1)],
)
def test_codecs(make_clip, codec, name, known):
    path = make_clip(f"codec_{name}.mkv", clips.Clip(codec, frames=30, width=192, height=128))
    got = bitstream_features(path, 192, 128)
    assert [c for c in BITSTREAM_FEATURES if c.startswith("codec_") and got[c]] == [f"codec_{name}"]
    assert got["qp_known"] == known
    assert 0 <= got["qp"] <= 1
    assert all(math.isfinite(v) for v in got.values())


def test_sizes_are_those_of_the_packets(make_clip):
    path = encoded(make_clip, "crf.mp4", crf="30")
    with av.open(str(path)) as container:
        packets = [(p.size, p.is_keyframe) for p in container.demux(video=0) if p.size]
    keys = [size for size, key in packets if key]
    inter = [size for size, key in packets if not key]
    assert len(keys) == 3
    got = bitstream_features(path, 320, 192)
    assert 2 ** got["key_bits"] == pytest.approx(np.median(keys) * 8 / (320 * 192))
    assert 2 ** got["inter_bits"] == pytest.approx(np.mean(inter) * 8 / (320 * 192))


def test_an_open_source_gives_the_same_and_is_left_as_new(make_clip):
    path = encoded(make_clip, "crf.mp4", crf="30")
    with video.open_source(path, 1) as plain:
        expected = [f.frames[0].planes[0].copy() for f in plain.frames(EveryFrame())]
    with video.open_source(path, 1) as source:
        assert features(source.packet_records(), 640, 384) == bitstream_features(path, 640, 384)
        got = [f.frames[0].planes[0].copy() for f in source.frames(EveryFrame())]
        assert source.counts.lost == 0
        assert source.warnings == []
        with pytest.raises(Unsupported, match="packets are read before frames"):
            source.packet_records()
    assert len(got) == len(expected) == 72
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_damage_is_survived(make_clip, tmp_path):
    path = encoded(make_clip, "crf.mp4", crf="30")
    clips.damage(path, tmp_path / "damaged.mp4", 0.5, 400)
    a, b = bitstream_features(path, 320, 192), bitstream_features(tmp_path / "damaged.mp4", 320, 192)
    assert a["inter_bits"] == pytest.approx(b["inter_bits"], abs=0.5)


def test_errors_are_those_of_opening(tmp_path):
    with pytest.raises(MissingFile):
        bitstream_features(tmp_path / "absent.mp4", 64, 64)
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    with pytest.raises(NotAVideo):
        bitstream_features(tmp_path / "text.mp4", 64, 64)
