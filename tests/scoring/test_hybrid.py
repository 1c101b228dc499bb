"""Models that read the coded stream: what reaches the head, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from tests import clips

from vqafast.errors import Unsupported
from vqafast.models.spec import BitstreamView
from vqafast.scoring.assessment import Assessment
from vqafast.scoring.scorer import Scorer
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES, bitstream_features

from .random_model import export
from .test_assessment import validate

WIDE = BitstreamView(BITSTREAM_FEATURES, ((-30.0, 30.0),) * len(BITSTREAM_FEATURES))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    directory = tmp_path_factory.mktemp("models") / "hybrid"
    export(directory, bitstream=WIDE)
    return Scorer(directory, threads=2)


@pytest.fixture(scope="module")
def whole(hybrid, clip) -> Assessment:
    return hybrid.assess(clip)


def test_the_result_says_what_was_read(whole, clip):
    expected = bitstream_features(clip, 160, 96)
    assert {v.name: v.value for v in whole.bitstream} == expected
    assert whole.warnings == ()
    validate(json.loads(whole.to_json()))
    assert Assessment.from_json(whole.to_json()) == whole


def test_every_head_call_gets_them(hybrid, clip, whole, monkeypatch):
    seen = []
    real = hybrid._model.member_scores

    def spy(quality, semantic, constant=None):
        seen.append(constant)
        return real(quality, semantic, constant)

    monkeypatch.setattr(hybrid._model, "member_scores", spy)
    assert hybrid.assess(clip).score == whole.score
    expected = [bitstream_features(clip, 160, 96)[name] for name in BITSTREAM_FEATURES]
    assert len(seen) == 3
    for constant in seen:
        np.testing.assert_allclose(constant, expected, rtol=1e-6)


def test_the_same_pictures_in_fewer_bits_score_differently(hybrid, clip, whole, tmp_path):
    """Filler changes the packets and no picture."""
    import av

    path = tmp_path / "filled.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None:
                continue
            # an H.264 filler data unit: nal_unit_type 12
            filler = b"\x0c" + b"\xff" * 2000 + b"\x80"
            fuller = av.Packet(bytes(packet) + len(filler).to_bytes(4, "big") + filler)
            fuller.pts, fuller.dts, fuller.time_base = packet.pts, packet.dts, packet.time_base
            fuller.is_keyframe = packet.is_keyframe
            fuller.stream = out
            target.mux(fuller)
    got = hybrid.assess(path)
    assert [f.index for f in got.frames] == [f.index for f in whole.frames]
    plain = {v.name: v.value for v in whole.bitstream}
    full = {v.name: v.value for v in got.bitstream}
    assert full["inter_bits"] > plain["inter_bits"] + 0.5
    assert full["qp"] == plain["qp"]
    assert got.score != pytest.approx(whole.score, abs=1e-2)


def test_file_objects_and_pipes_with_a_container(hybrid, clip, whole):
    data = clip.read_bytes()
    assert hybrid.assess(io.BytesIO(data)).bitstream == whole.bitstream

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    got = hybrid.assess(Pipe(data))
    assert got.bitstream == whole.bitstream
    assert got.frames == whole.frames


def test_the_display_counts(hybrid, clip, whole):
    got = hybrid.assess(clip, display=(320, 192))
    plain, large = ({v.name: v.value for v in a.bitstream} for a in (whole, got))
    assert (plain["display_scale"], large["display_scale"]) == (0, 1)
    assert {k: v for k, v in large.items() if k != "display_scale"} == {
        k: v for k, v in plain.items() if k != "display_scale"
    }


def test_values_outside_of_what_the_model_knows_are_moved_and_told(tmp_path, clip, whole):
    value = {v.name: v.value for v in whole.bitstream}
    top = value["key_bits"] - 1
    view = BitstreamView(("key_bits", "qp"), ((-30.0, top), (0.0, 1.0)))
    export(tmp_path / "narrow", bitstream=view)
    scorer = Scorer(tmp_path / "narrow", threads=2)
    seen = []
    real = scorer._model.member_scores
    scorer._model.member_scores = lambda q, s, c: seen.append(c) or real(q, s, c)
    got = scorer.assess(clip)
    assert [w.code for w in got.warnings] == ["bitstream_out_of_range"]
    assert f"key_bits {value['key_bits']:.3g} to {top:.3g}" in got.warnings[0].message
    assert "qp" not in got.warnings[0].message
    np.testing.assert_allclose(seen[0], [top, value["qp"]], rtol=1e-6)
    # The record keeps what was found.
    assert got.bitstream[0].value == value["key_bits"]


@pytest.mark.parametrize("kind", ["y4m", "raw", "pushed"])
def test_pictures_alone_are_refused(hybrid, make_clip, kind):
    advice = "use model a2inet-lite, which needs pictures only"
    if kind == "pushed":
        with pytest.raises(Unsupported, match=f"needs a container with it, got pictures; {advice}"):
            hybrid.stream(160, 96, "yuv420p")
        return
    if kind == "y4m":
        source = io.BytesIO(clips.y4m([[bytes(64 * 48), bytes(32 * 24), bytes(32 * 24)]]))
        got = "YUV4MPEG2"
    else:
        source, got = make_clip("uncompressed.nut", clips.Clip("rawvideo", frames=4)), "rawvideo video"
    with pytest.raises(Unsupported, match=f"model random reads the coded stream .* got {got}; {advice}"):
        hybrid.assess(source)


def test_other_models_are_told_nothing(scorer, clip):
    assert scorer.assess(clip).bitstream == ()
