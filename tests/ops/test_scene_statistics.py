"""scene_statistics against its definition in float64, and against the torch module it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.ops.samples_statistics import (
    FLAT,
    GROUPS,
    MAPS,
    SAMPLES,
    frames_of,
    texture,
    tolerance_of,
    truth_of,
)

from vqafast import errors
from vqafast.ops import scene_statistics

if TYPE_CHECKING:
    from collections.abc import Callable


def check(name: str, result: np.ndarray, of: str = "luma") -> None:
    truth = truth_of(name, of)
    assert result.dtype == np.float32
    assert result.shape == truth.shape == (len(frames_of(name)), 176)
    excess = np.abs(result - truth) / tolerance_of(name, of)
    assert np.all(excess <= 1), (
        f"statistic {excess.max(axis=0).argmax()} is {excess.max():.3g} tolerances off"
    )


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("name", SAMPLES)
def test_parity_on_every_instruction_set(name: str, of: str, cpu_target: str) -> None:
    check(name, scene_statistics(frames_of(name), of=of), of)


@pytest.mark.parametrize("name", SAMPLES)
def test_number_of_threads_changes_no_bit(name: str, cpu_target: str) -> None:
    one = scene_statistics(frames_of(name), threads=1)
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(one, scene_statistics(frames_of(name), threads=threads))


def test_a_picture_has_the_same_bits_in_any_batch() -> None:
    frames = frames_of("patches")
    together = scene_statistics(frames)
    for i in range(len(frames)):
        np.testing.assert_array_equal(scene_statistics(frames[i : i + 1])[0], together[i])


def sliced(frames: np.ndarray) -> np.ndarray:
    padded = np.full([2 * n + 3 for n in frames.shape], np.nan, np.float32)
    view = padded[tuple(slice(1, 2 * n + 1, 2) for n in frames.shape)]
    view[...] = frames
    return view


def rows_padded(frames: np.ndarray) -> np.ndarray:
    """Also has NaN right behind the last pixel: nothing may be read there into a result."""
    padded = np.full((*frames.shape[:3], frames.shape[3] + 5), np.nan, np.float32)
    padded[..., :-5] = frames
    return padded[..., :-5]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sliced": sliced,
    "rows_padded": rows_padded,
    "transposed": lambda frames: np.ascontiguousarray(frames.T).T,
    "pictures_interleaved": lambda frames: np.moveaxis(
        np.ascontiguousarray(np.moveaxis(frames, 1, -1)), -1, 1
    ),
    "reversed": lambda frames: np.ascontiguousarray(frames[..., ::-1, ::-1])[..., ::-1, ::-1],
    "read_only": lambda frames: np.frombuffer(frames.tobytes(), np.float32).reshape(frames.shape),
}


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["odd", "every_tail", "one_band", "empty_batch"])
def test_any_strides(name: str, layout: str, of: str, cpu_target: str) -> None:
    frames = LAYOUTS[layout](frames_of(name))
    np.testing.assert_array_equal(frames, frames_of(name))
    np.testing.assert_array_equal(scene_statistics(frames, of=of), scene_statistics(frames_of(name), of=of))


@pytest.mark.parametrize("name", ["odd", "patches", "empty_batch"])
def test_out_is_filled_and_returned(name: str) -> None:
    out = np.full((len(frames_of(name)), 176), np.nan, np.float32)
    assert scene_statistics(frames_of(name), out=out) is out
    check(name, out)


@pytest.mark.parametrize("grey", [0.0, 1.0, 1 / 255, 0.3, 200 / 255])
def test_flat_pictures_have_no_deviation(grey: float, cpu_target: str) -> None:
    result = scene_statistics(np.full((1, 2, 130, 99), grey, np.float32))[0]
    for deviations in GROUPS[1::2]:
        np.testing.assert_allclose(result[deviations], 0, atol=1e-8)
    means = result[GROUPS[0]]
    assert means[0] == means[3] == means[11] == 0
    assert means[1] == pytest.approx(1e-3**0.5, rel=1e-6)


def test_faint_texture_keeps_its_deviation(cpu_target: str) -> None:
    """A hundredth of a grey level of noise on white, to one rounding of 127.5 grey levels."""
    rng = np.random.default_rng(7)
    frames = (1 - rng.integers(0, 2, (1, 2, 160, 160)) * 2.0**-15).astype(np.float32)
    truth = scene_statistics.reference(frames)
    np.testing.assert_allclose(scene_statistics(frames), truth, rtol=2e-3, atol=2.0**-17)


def test_nan_reaches_the_statistics_it_concerns(cpu_target: str) -> None:
    frames = texture(2, 112, 120)
    frames[1, 1, 60, 60] = np.nan
    changes = np.isnan(scene_statistics(frames))
    assert changes.sum() == 4 * 2 * 2
    np.testing.assert_array_equal(changes, np.isnan(scene_statistics.reference(frames)))
    frames[1, 0, 60, 60] = np.nan
    np.testing.assert_array_equal(
        np.isnan(scene_statistics(frames)), np.isnan(scene_statistics.reference(frames))
    )


F = np.zeros((1, 2, 96, 96), np.float32)
INVALID: list[tuple[Any, dict[str, Any], str]] = [
    (F[0], {}, "frames must have 4 dimensions (N, 2, H, W), got shape (2, 96, 96)"),
    (F.astype("f2"), {}, "frames must be float32, got float16"),
    (F[:, :1], {}, "frames must have 2 channels, a picture and the one after it, got shape (1, 1, 96, 96)"),
    (F[:, :, 1:], {}, "frames must be at least 96 pixels high and wide, got shape (1, 2, 95, 96)"),
    (F[..., 1:], {}, "frames must be at least 96 pixels high and wide, got shape (1, 2, 96, 95)"),
    ([1.0], {}, "frames must be a NumPy array or have __dlpack__, got list"),
    (F, {"threads": -1}, "threads must be 0 (all processors) or more, got -1"),
    (F, {"out": np.zeros((1, 175), "f4")}, "out must have shape (1, 176), got shape (1, 175)"),
    (F, {"out": np.zeros((1, 176), "f8")}, "out must be float32, got float64"),
    (F, {"out": np.zeros((1, 352), "f4")[:, ::2]}, "out must be C-contiguous, got a strided array"),
]


@pytest.mark.parametrize(("frames", "options", "words"), INVALID, ids=[case[2][:60] for case in INVALID])
def test_invalid_arguments(frames: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        scene_statistics(frames, **options)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == f"scene_statistics: {words}"


def pooled_by_torch(frames: np.ndarray, of: Any = "luma") -> np.ndarray:
    torch = pytest.importorskip("torch", reason="compares with the torch module")
    from vqafast.models.a2inet.functional import moment_pool
    from vqafast.models.backbones.filter_bank import FilterBank

    with torch.no_grad():
        result: np.ndarray = moment_pool(FilterBank(of)(torch.from_numpy(frames))).numpy()
    return result


@pytest.mark.parametrize("of", MAPS)
@pytest.mark.parametrize("name", sorted(set(SAMPLES) - set(FLAT)))
def test_agrees_with_the_torch_module(name: str, of: str) -> None:
    frames = frames_of(name)
    # The module rounds a map at levels of 1 before they become levels of 255.
    # The gradient of a checkerboard is flat.
    allowed = 1e-4 if of == "luma" else 0.1 if name == "checkerboard" else 2e-3
    np.testing.assert_allclose(
        scene_statistics(frames, of=of), pooled_by_torch(frames, of), rtol=1e-4, atol=allowed
    )


@pytest.mark.parametrize("name", sorted(set(FLAT) - {"empty_batch"}))
def test_agrees_with_the_torch_module_on_flat_regions(name: str) -> None:
    """Less closely: the module takes their variance as a difference of squares of up to 16256, in float32."""
    frames = frames_of(name)
    np.testing.assert_allclose(scene_statistics(frames), pooled_by_torch(frames), rtol=1e-4, atol=0.05)


def test_takes_torch_tensors() -> None:
    torch = pytest.importorskip("torch", reason="DLPack from torch")
    frames = frames_of("odd")
    np.testing.assert_array_equal(scene_statistics(torch.from_numpy(frames)), scene_statistics(frames))
