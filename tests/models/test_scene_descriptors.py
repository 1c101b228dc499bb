"""The fixed semantic branch of ``a2inet-lite``: what its maps are, and that compression hardly moves them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vqafast.models.a2inet.functional import moment_pool  # noqa: E402
from vqafast.models.backbones.scene_descriptors import SceneDescriptors  # noqa: E402


def pooled(frames: np.ndarray) -> np.ndarray:
    result: np.ndarray = moment_pool(SceneDescriptors()(torch.from_numpy(frames.astype(np.float32)))).numpy()
    return result


def test_shapes() -> None:
    maps = SceneDescriptors()(torch.rand(2, 3, 144, 256))
    assert tuple(m.shape[1] for m in maps) == SceneDescriptors.stage_channels
    assert [tuple(m.shape[2:]) for m in maps] == [(144, 256), (143, 255), (35, 63), (8, 15), (3, 7)]
    assert pooled(np.random.default_rng(0).random((1, 3, 64, 64))).shape == (1, 32)


def test_grey_has_no_colour_and_flat_has_no_slope() -> None:
    grey = np.full((1, 3, 96, 128), 0.5)
    found = pooled(grey)[0]
    luma, cb, cr, colour, dark, bright = found[:6]
    assert luma == pytest.approx(0.5, abs=1e-6)
    assert abs(cb) < 1e-6
    assert abs(cr) < 1e-6
    assert colour == pytest.approx(1e-3, abs=1e-5)
    assert (dark, bright) == (0, 0)
    np.testing.assert_allclose(found[6:12], 0, atol=1e-6)  # deviations of the first stage
    assert found[12] == 0  # mean slope
    assert pooled(np.full((1, 3, 96, 128), 0.02))[0, 4] == 1
    assert pooled(np.full((1, 3, 96, 128), 0.98))[0, 5] == 1


def test_fine_noise_moves_coarse_descriptors_less_than_another_scene_does() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.random((2, 3, 5, 8)).repeat(32, axis=2).repeat(32, axis=3)[:, :, :144, :240]
    noisy = np.clip(coarse + 0.05 * rng.standard_normal(coarse.shape), 0, 1)
    clean, after = pooled(coarse), pooled(noisy)
    assert np.abs(clean[0] - after[0])[14:].max() < 0.2 * np.abs(clean[0] - clean[1])[14:].max()
