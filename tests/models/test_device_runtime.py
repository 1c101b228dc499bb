"""The same model on torch tensors: the code that a GPU runs, here on the CPU and there on the device."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import clips  # noqa: E402
from tests.ops.cuda import require  # noqa: E402
from tests.scoring.random_model import export  # noqa: E402

from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.branch import GraphBranch  # noqa: E402
from vqafast.video.push import PushSource  # noqa: E402

if TYPE_CHECKING:
    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import Sampled

# Of the largest value of a feature or the spread of a score. Both engines compute in f32; OpenVINO
# differs from torch by up to 1e-4 (TOLERANCE of export.py), and pooling does not add to it.
TOLERANCE = 2e-4
# Of a feature's largest value, in half: 11 bits, and convolutions of up to some hundred terms.
HALF_TOLERANCE = 2e-2

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.cuda)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Convolutional backbones, patches of pairs, two heads."""
    path = tmp_path_factory.mktemp("device") / "model"
    export(path, heads=2)
    return registry.load(path)


def runtime(spec: ModelSpec, device: str, **options: Any) -> A2INetRuntime:
    if device != "cpu":
        require()
    return A2INetRuntime(spec, "torch", threads=2, device=device, **options)


def samples(spec: ModelSpec, sizes: list[tuple[int, int]]) -> list[Sampled]:
    """One sample of a pair for each size (width, height)."""
    found = []
    for k, (width, height) in enumerate(sizes):
        source = PushSource(
            width, height, "yuv420p", A2INetRuntime(spec, threads=1).selector(), time_base=Fraction(1, 4)
        )
        pushed: list[Sampled] = []
        for i in range(3):
            picture = clips.content(10 * k + i, width, height)
            luma = np.ascontiguousarray(picture[..., 0])
            chroma = [np.ascontiguousarray(picture[::2, ::2, c]) for c in (1, 2)]
            pushed += source.push([luma, *chroma], i)
        found.append(pushed[0])
    return found


def views(model: A2INetRuntime, given: list[Sampled], draw: int = 0) -> tuple[list[Any], list[Any]]:
    quality, semantic = [], []
    for sampled in given:
        with model.reading(sampled) as local:
            quality.append(model.ingest_quality(local, draw))
            semantic.append(model.ingest_semantic(local))
    return quality, semantic


def features(model: A2INetRuntime, given: list[Sampled]) -> tuple[np.ndarray, np.ndarray]:
    quality, semantic = views(model, given)
    return model.quality_features(quality), model.semantic_features(semantic)


def off(got: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(got - truth).max() / np.abs(truth).max())


SIZES = [(160, 96), (160, 96), (192, 108), (160, 96), (96, 160)]


@pytest.mark.parametrize("device", DEVICES)
def test_features_and_scores_are_those_of_the_host(small: ModelSpec, device: str) -> None:
    host, other = A2INetRuntime(small, threads=2), runtime(small, device, batch=2)
    given = samples(small, SIZES)
    expected, got = features(host, given), features(other, given)
    for a, b in zip(got, expected, strict=True):
        assert (a.dtype, a.shape) == (np.float32, b.shape)
        assert off(a, b) < TOLERANCE
    truth = host.member_scores(*expected)
    assert np.abs(other.member_scores(*expected) - truth).max() < TOLERANCE * max(1.0, np.abs(truth).max())


@pytest.mark.parametrize("device", DEVICES)
def test_views_are_those_of_the_host(small: ModelSpec, device: str) -> None:
    given = samples(small, SIZES[:3])
    expected, got = (
        views(m, given, draw=1) for m in (A2INetRuntime(small, threads=2), runtime(small, device))
    )
    for branch, truth in zip(got, expected, strict=True):
        for a, b in zip(branch, truth, strict=True):
            assert (str(a.device), a.dtype) == (device, torch.float32)
            np.testing.assert_allclose(a.cpu().numpy(), b, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_default_model(device: str) -> None:
    """Scene statistics, kernel regressions and fixed descriptors, which the small model has not."""
    spec = registry.load(registry.DEFAULT)
    host, other = A2INetRuntime(spec, threads=2), runtime(spec, device)
    given = samples(spec, [(320, 180), (320, 180), (300, 400)])
    expected, got = features(host, given), features(other, given)
    for a, b in zip(got, expected, strict=True):
        assert off(a, b) < TOLERANCE
    # Raw scores are on the scale of 0..100.
    assert np.abs(other.member_scores(*got) - host.member_scores(*expected)).max() < 0.05


@pytest.mark.parametrize("device", DEVICES)
def test_half(small: ModelSpec, device: str) -> None:
    given = samples(small, SIZES)
    half = runtime(small, device, precision="f16", batch=2)
    quality, semantic = views(half, given)
    assert {v.dtype for v in [*quality, *semantic]} == {torch.float16}
    for a, b in zip(features(half, given), features(runtime(small, device), given), strict=True):
        assert np.isfinite(a).all()
        assert off(a, b) < HALF_TOLERANCE


@pytest.mark.cuda
@pytest.mark.parametrize("size", [(160, 96), (322, 182)])
def test_features_do_not_depend_on_their_neighbours(small: ModelSpec, size: tuple[int, int]) -> None:
    """Batches are padded to one size, so that videos may share them: bitwise."""
    model = runtime(small, "cuda:0", batch=3)
    given = samples(small, [size] * 7)
    together = features(model, given)
    for i, sampled in enumerate(given):
        for a, b in zip(features(model, [sampled]), together, strict=True):
            np.testing.assert_array_equal(a[0], b[i])


class Padded:
    """An engine that wants always the same shape, and says which it got."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.counts: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    static_shapes = True

    def run(self, inputs: Any) -> Any:
        self.counts.append(len(inputs["frames"]))
        return self._engine.run(inputs)


def test_batches_are_padded_to_one_size(small: ModelSpec) -> None:
    model = runtime(small, "cpu", batch=3)
    branch: Any = model._quality
    assert isinstance(branch, GraphBranch)
    given = samples(small, [(160, 96)] * 5)
    quality, _ = views(model, given)
    plain = model.quality_features(quality)
    branch.engine = padded = Padded(branch.engine)
    # 5 samples of 4 patches, 3 samples to a call.
    np.testing.assert_allclose(model.quality_features(quality), plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.quality_features(quality[:1])[0], plain[0], rtol=1e-5, atol=1e-6)
    assert padded.counts == [12, 12, 12]
