"""Cuts in pictures of which it is known where they are."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from tests import clips

from vqafast.video import open_source
from vqafast.video.picture import PictureReader
from vqafast.video.sampling import EveryFrame, TimeGrid
from vqafast.video.shots import ShotDetector, _looked

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (160, 96)
FPS = 24


def scene(number: int, index: int) -> np.ndarray[Any, Any]:
    """Picture `index` of one of four scenes that have little in common."""
    picture = clips.content(index + 100 * number, *SIZE)
    if number % 2:
        picture = 255 - picture // 2
    return picture[:, ::-1] // (1 + number // 2)


def film(path: Path, shots: list[int], codec: str = "libx264", **options: str) -> list[float]:
    """Encode scenes of those lengths; give the times at which they begin, the first left out."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "28", **options}
        for number, length in enumerate(shots):
            for index in range(length):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(number, index)), "rgb24")
                out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return [sum(shots[:i]) / FPS for i in range(1, len(shots))]


def cuts_of(path: Path, selector: Any) -> tuple[float, ...]:
    with open_source(path, 1) as source:
        source.marks.shots = detector = ShotDetector()
        for _ in source.frames(selector):
            pass
    return detector.cuts(source.marks.keys or ())


@pytest.mark.parametrize("scenecut", ["0", "40"])
def test_cuts_are_found_where_they_are(tmp_path: Path, scenecut: str) -> None:
    path = tmp_path / "film.mp4"
    expected = film(path, [30, 25, 40, 20], sc_threshold=scenecut)
    assert cuts_of(path, EveryFrame()) == pytest.approx(expected, abs=1e-3)
    # Of a sparse plan fewer pictures are decoded: a cut is then at the first one that was.
    assert cuts_of(path, TimeGrid(2)) == pytest.approx(expected, abs=0.5 if scenecut == "0" else 1e-3)


def test_no_cut_in_one_shot(tmp_path: Path) -> None:
    clips.encode(tmp_path / "one.mp4", clips.Clip(frames=96))
    assert cuts_of(tmp_path / "one.mp4", TimeGrid(2)) == ()
    assert cuts_of(tmp_path / "one.mp4", EveryFrame()) == ()


def looks(*brightness: float) -> ShotDetector:
    detector = ShotDetector()
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 60, (36, 64))
    for i, level in enumerate(brightness):
        detector.see(i / 10, np.clip(texture + level, 0, 255).astype(np.uint8), 255)
    return detector


def test_a_flash_is_no_cut_and_a_change_that_stays_is() -> None:
    dark, bright = 20.0, 190.0
    assert looks(*[dark] * 10, bright, bright, *[dark] * 10).cuts() == ()
    assert looks(*[dark] * 10, *[bright] * 10).cuts() == (1.0,)


def test_a_slow_fade_is_no_cut() -> None:
    assert looks(*np.linspace(20, 190, 40)).cuts() == ()


def test_few_pictures() -> None:
    assert looks().cuts() == ()
    assert looks(20).cuts() == ()
    # The last pictures count although nothing comes behind them.
    assert looks(*[20] * 10, 190).cuts() == (1.0,)


def test_depth_and_alignment_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 64, (96, 160)) + (120 if i > 11 else 0) for i in range(24)]
    found = []
    for scale, kind, peak in ((1, np.uint8, 255), (4, np.uint16, 1023), (256, np.uint16, 65535)):
        detector = ShotDetector()
        for i, picture in enumerate(pictures):
            detector.see(i / 24, (picture * scale).astype(kind), peak)
        found.append(detector.cuts())
    assert found == [(0.5,)] * 3


def test_the_layout_of_a_hardware_decoder_looks_the_same() -> None:
    """P010 has its ten bits at the upper end."""
    plain = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(0, 0)), "rgb24").reformat(
        format="yuv420p10le"
    )
    reader = PictureReader("x", "", Fraction(1), [])
    one, other = (_looked(0.0, *reader.luma(p)) for p in (plain, plain.reformat(format="p010le")))
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_array_equal(one.histogram, other.histogram)


def test_a_change_of_size_is_a_cut() -> None:
    detector = ShotDetector()
    for i in range(20):
        side = 64 if i < 10 else 36
        detector.see(i / 10, np.full((side, side), 100, dtype=np.uint8), 255)
    assert detector.cuts() == (1.0,)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_tensors_are_looked_at_like_arrays(kind: str) -> None:
    """Planes of a hardware decoder are tensors; these lie on the CPU."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    peak = 255 if kind == "uint8" else 65535
    pictures = [rng.integers(0, peak // 2, (96, 160)) + (peak // 2 if i > 9 else 0) for i in range(20)]
    found = []
    for wrap in (np.asarray, torch.from_numpy):
        detector = ShotDetector()
        for i, picture in enumerate(pictures):
            detector.see(i / 10, wrap(picture.astype(kind)), peak)
        found.append(detector.cuts())
    assert found[0] == found[1] == (1.0,)
