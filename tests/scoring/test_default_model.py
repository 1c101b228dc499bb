"""The promises of the score contract, on the embedded model and real decoding."""

import io

import numpy as np
import pytest
from tests import clips

import vqafast

#: Of 100; docs/numerics.md.
TOLERANCE = 1e-3
CLIP = clips.Clip(width=640, height=360, frames=150, fps=30, options={"crf": "30", "threads": "1"})


@pytest.fixture(scope="module")
def clip(make_clip):
    return make_clip("default_model.mp4", CLIP)


@pytest.fixture(scope="module")
def reference(clip):
    return vqafast.Scorer(threads=2).assess(clip)


def frame_scores(assessment):
    return np.array([f.score for f in assessment.frames])


def agree(a, b, tolerance=TOLERANCE):
    assert [f.pts for f in a.frames] == pytest.approx([f.pts for f in b.frames], abs=1e-3)
    np.testing.assert_allclose(frame_scores(a), frame_scores(b), atol=tolerance)
    assert a.score == pytest.approx(b.score, abs=tolerance)


def test_twice_is_identical(clip, reference):
    scorer = vqafast.Scorer(threads=2)
    for _ in range(2):
        again = scorer.assess(clip)
        assert again.score == reference.score
        np.testing.assert_array_equal(frame_scores(again), frame_scores(reference))


@pytest.mark.parametrize("options", [{"threads": 1}, {"batch": 1}, {"batch": 3, "threads": 2}], ids=str)
def test_threads_and_batch(clip, reference, options):
    agree(vqafast.Scorer(**options).assess(clip), reference)


def test_windows_pool_the_same_frames(clip, reference):
    windowed = vqafast.Scorer(threads=2).assess(clip, window=1.0)
    np.testing.assert_array_equal(frame_scores(windowed), frame_scores(reference))
    assert windowed.score == reference.score
    assert sum(s.frames for s in windowed.segments) == len(windowed.frames)


def decoded(path):
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            planes = []
            for plane, scale in zip(frame.planes, (1, 2, 2), strict=False):
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                planes.append(rows[: frame.height // scale, : frame.width // scale].copy())
            yield planes, frame.pts * frame.time_base


def test_a_stream_equals_the_file(clip, reference):
    scorer = vqafast.Scorer(threads=2)
    with scorer.stream(640, 360, "yuv420p", time_base=1) as stream:
        for planes, seconds in decoded(clip):
            stream.push(planes, float(seconds))
        result = stream.finish()
    agree(result, reference)


def test_a_y4m_pipe_equals_the_file(clip, reference):
    data = bytearray(b"YUV4MPEG2 W640 H360 F30:1 Ip A1:1 C420mpeg2\n")
    for planes, _ in decoded(clip):
        data += b"FRAME\n" + b"".join(p.tobytes() for p in planes)
    agree(vqafast.Scorer(threads=2).assess(io.BytesIO(bytes(data))), reference)


def test_draws_have_a_mean_and_a_spread(clip):
    result = vqafast.Scorer(threads=2, samples=3).assess(clip)
    assert result.spread is not None
    assert 0 <= result.spread.std < 10
    again = vqafast.Scorer(threads=2, samples=3).assess(clip)
    assert again.score == result.score


@pytest.mark.parametrize(("rotation", "turns"), [(180, 2), (90, 1), (270, 3)])
def test_rotation_metadata_equals_rotated_pixels(make_clip, rotation, turns):
    path = make_clip(
        f"turned{rotation}.mkv",
        # grey: turned chroma would be sited on another side
        clips.Clip("ffv1", width=320, height=256, frames=40, pix_fmt="gray", rotation=rotation),
    )
    scorer = vqafast.Scorer(threads=2)
    turned = scorer.assess(path)
    width, height = (320, 256) if turns == 2 else (256, 320)
    assert (turned.video.display_width, turned.video.display_height) == (width, height)

    def pushed(direction):
        with scorer.stream(width, height, "gray", time_base=1) as stream:
            for planes, seconds in decoded(path):
                stream.push([np.rot90(p, direction * turns).copy() for p in planes], float(seconds))
            return stream.finish()

    # Which way the container means is not this test's business, so one of the two must fit.
    distances = [abs(pushed(direction).score - turned.score) for direction in (1, -1)]
    assert min(distances) < TOLERANCE
