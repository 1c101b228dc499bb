"""``a2inet-lite`` with random weights: exported, run without torch, equal to the torch modules."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small import features  # noqa: E402

from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.functional import moment_pool  # noqa: E402
from vqafast.models.a2inet.lite import QUALITY_DIM, RAW_PER_VMAF, SEMANTIC_DIM  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.backbones.compact_resnet import CompactResNet  # noqa: E402
from vqafast.models.backbones.filter_bank import FilterBank  # noqa: E402
from vqafast.scoring.report import pooler_of  # noqa: E402
from vqafast.training.lite.head import head_config  # noqa: E402
from vqafast.training.lite.publish import publish  # noqa: E402


@pytest.fixture(scope="module")
def modules():
    torch.manual_seed(3)
    head = A2INetHead(head_config())
    head.fit_constants(torch.rand(50, QUALITY_DIM) * 9, torch.rand(50, SEMANTIC_DIM))
    return CompactResNet().eval(), head.eval()


@pytest.fixture(scope="module")
def runtime(modules, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lite")
    publish(*modules, directory, {})
    spec = registry.load(directory)
    assert sorted(spec.files) == ["align.onnx", "semantic.onnx", "temporal.onnx"]
    return A2INetRuntime(spec, threads=1)


def views(seed, patches=3):
    # grey levels of a codec: noise of full range would hide errors in flat regions
    rng = np.random.default_rng(seed)
    base = rng.random((patches, 1, 1, 1)).repeat(2, 1)
    quality = np.rint((base + 0.1 * rng.standard_normal((patches, 2, 160, 192))).clip(0, 1) * 255) / 255
    return {"quality": quality.astype(np.float32), "semantic": rng.random((1, 3, 90, 144), dtype=np.float32)}


def test_dimensions():
    assert 2 * sum(FilterBank.stage_channels) == QUALITY_DIM
    assert 2 * sum(CompactResNet.stage_channels) == SEMANTIC_DIM


@torch.no_grad()
def test_runtime_equals_torch(modules, runtime):
    net, head = modules
    samples = [views(seed) for seed in range(5)]
    quality, semantic = features(runtime, samples)
    bank = FilterBank()
    expected_q = torch.stack([moment_pool(bank(torch.from_numpy(v["quality"]))).mean(0) for v in samples])
    expected_s = torch.cat([moment_pool(net(torch.from_numpy(v["semantic"]))) for v in samples])
    np.testing.assert_allclose(quality, expected_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(semantic, expected_s, rtol=1e-4, atol=1e-4)

    raw = runtime.frame_scores(quality, semantic)
    score, series = head(torch.from_numpy(quality)[None], torch.from_numpy(semantic)[None])
    np.testing.assert_allclose(raw, series[0], atol=1e-5)
    pooled = pooler_of(runtime.spec).pool(raw, "hysteresis")
    assert pooled == pytest.approx(min(max(float(score) / RAW_PER_VMAF, 0), 100), abs=1e-3)


def test_batching_does_not_matter(runtime):
    samples = [views(seed, patches=seed % 3 + 1) for seed in range(6)]
    together = features(runtime, samples)
    apart = [features(runtime, [s]) for s in samples]
    for i, whole in enumerate(together):
        np.testing.assert_allclose(whole, np.concatenate([a[i] for a in apart]), rtol=1e-5, atol=1e-5)


def test_a_small_picture_gets_no_more_patches_than_cover_it(runtime):
    from vqafast.models.a2inet.views import quality_view
    from vqafast.video.source import ColorSpec, Frame, PixelLayout

    def count(width, height):
        layout = PixelLayout(
            name="gray", bit_depth=8, msb_aligned=False, chroma_shift_x=0, chroma_shift_y=0,
            semi_planar=False, has_chroma=False,
        )  # fmt: skip
        frame = Frame(
            planes=(np.full((height, width), 90, np.uint8),), pts=0.0, index=0, corrupt=False,
            interlaced=False, layout=layout, color=ColorSpec("bt709", False, "bt709"), width=width,
            height=height, rotation=0, sample_aspect_ratio=1,
        )  # fmt: skip
        view = quality_view((frame, frame), runtime.spec.quality, draw=0, seed=0, threads=1)
        return view.shape

    assert count(1920, 1080) == (15, 2, 256, 256)
    assert count(640, 360) == (6, 2, 256, 256)
    assert count(200, 120) == (1, 2, 120, 200)
