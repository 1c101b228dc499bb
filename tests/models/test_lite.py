"""``a2inet-lite`` with random weights: exported, run without torch, equal to the torch modules."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small import features  # noqa: E402

from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.functional import moment_pool  # noqa: E402
from vqafast.models.a2inet.kernel import KernelRegression  # noqa: E402
from vqafast.models.a2inet.lite import QUALITY_DIM, QUALITY_MAPS, SEMANTIC_DIM  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.backbones.filter_bank import FilterBank  # noqa: E402
from vqafast.models.backbones.scene_descriptors import SceneDescriptors  # noqa: E402
from vqafast.scoring.report import pooler_of  # noqa: E402
from vqafast.training.lite.head import Ensemble, Samples, head_config, predict  # noqa: E402
from vqafast.training.lite.publish import publish  # noqa: E402
from vqafast.video.bitstream_stats import BITSTREAM_FEATURES  # noqa: E402


def trained(kind, members=2):
    """Random heads in the shape that training leaves behind."""
    torch.manual_seed(3)
    prior = len(BITSTREAM_FEATURES) if kind == "hybrid" else 0
    heads, kernels = [], []
    for _ in range(members):
        head = A2INetHead(head_config(QUALITY_DIM + prior, SEMANTIC_DIM + prior))
        head.fit_constants(torch.rand(50, QUALITY_DIM + prior) * 9, torch.rand(50, SEMANTIC_DIM + prior))
        heads.append(head.eval())
        kernel = KernelRegression(QUALITY_DIM + prior, 6, 30)
        for name in ("projection", "landmarks", "coefficients", "offset"):
            kernel.get_buffer(name).copy_(torch.randn(kernel.get_buffer(name).shape) * 0.1)
        kernel.squares.copy_(kernel.landmarks.square().sum(dim=0))
        kernels.append(kernel.eval())
    return Ensemble(heads, kernels, 0.7)


@pytest.fixture(scope="module")
def modules():
    return trained("pixels")


@pytest.fixture(scope="module")
def runtime(modules, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lite")
    publish(modules, "pixels", directory, figures={})
    spec = registry.load(directory)
    graphs = ["align.onnx", "semantic.onnx", "temporal.onnx"]
    assert sorted(spec.files) == sorted([*graphs, "head_0.safetensors"])
    return A2INetRuntime(spec, threads=1)


def views(seed, patches=3):
    # grey levels of a codec: noise of full range would hide errors in flat regions
    rng = np.random.default_rng(seed)
    base = rng.random((patches, 1, 1, 1)).repeat(2, 1)
    quality = np.rint((base + 0.1 * rng.standard_normal((patches, 2, 160, 192))).clip(0, 1) * 255) / 255
    return {"quality": quality.astype(np.float32), "semantic": rng.random((1, 3, 90, 144), dtype=np.float32)}


def test_dimensions():
    assert 2 * sum(FilterBank.stage_channels) * len(QUALITY_MAPS) == QUALITY_DIM
    assert 2 * sum(SceneDescriptors.stage_channels) == SEMANTIC_DIM


@torch.no_grad()
def test_runtime_equals_torch(modules, runtime):
    samples = [views(seed) for seed in range(5)]
    quality, semantic = features(runtime, samples)
    banks = [FilterBank(of) for of in QUALITY_MAPS]
    patches = [torch.from_numpy(v["quality"]) for v in samples]
    expected_q = torch.stack([torch.cat([moment_pool(b(p)).mean(0) for b in banks]) for p in patches])
    expected_s = torch.cat(
        [moment_pool(SceneDescriptors()(torch.from_numpy(v["semantic"]))) for v in samples]
    )
    np.testing.assert_allclose(quality, expected_q, rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(semantic, expected_s, rtol=1e-4, atol=1e-4)

    members = runtime.member_scores(quality, semantic)
    q, s = torch.from_numpy(quality)[None], torch.from_numpy(semantic)[None]
    frames = torch.cat([head(q, s)[1] for head in modules.heads])
    beside = torch.cat([kernel(q) for kernel in modules.kernels])
    assert (frames - beside).abs().min() > 1e-3
    np.testing.assert_allclose(members, 0.3 * frames + 0.7 * beside, atol=1e-5)
    raw = runtime.frame_scores(quality, semantic)
    np.testing.assert_allclose(raw, members.mean(axis=0), atol=1e-6)


def test_training_predicts_what_the_engine_scores(modules, runtime):
    quality, semantic = features(runtime, [views(seed) for seed in range(5)])
    samples = Samples.of([quality], [semantic], [np.zeros(5, np.float32)], np.zeros(1, np.float32))
    predicted = predict(modules, samples)
    pooler = pooler_of(runtime.spec)
    pooled = pooler.pool(runtime.frame_scores(quality, semantic), "hysteresis")
    assert pooled == pytest.approx(float(np.clip(predicted.score[0], 0, 100)), abs=1e-3)


@torch.no_grad()
def test_the_hybrid_reads_the_bitstream_after_the_picture(tmp_path):
    parts = trained("hybrid")
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(9, len(BITSTREAM_FEATURES))).astype(np.float32)
    publish(parts, "hybrid", tmp_path, figures={}, bitstream=seen)
    spec = registry.load(tmp_path)
    assert spec.bitstream.features == BITSTREAM_FEATURES
    for (low, high), column in zip(spec.bitstream.ranges, seen.T, strict=True):
        assert low <= column.min() <= column.max() <= high
        assert high - low < np.ptp(column) + 1e-3
    runtime = A2INetRuntime(spec, threads=1)
    quality, semantic = features(runtime, [views(seed) for seed in range(4)])
    got = runtime.member_scores(quality, semantic, seen[0])
    samples = Samples.of([quality], [semantic], [np.zeros(4, np.float32)], np.zeros(1, np.float32), seen[:1])
    for head, kernel, series in zip(parts.heads, parts.kernels, got, strict=True):
        frames = head(samples.quality, samples.semantic)[1][0]
        np.testing.assert_allclose(series, 0.3 * frames + 0.7 * kernel(samples.quality)[0], atol=1e-5)


def test_batching_does_not_matter(runtime):
    samples = [views(seed, patches=seed % 3 + 1) for seed in range(6)]
    together = features(runtime, samples)
    apart = [features(runtime, [s]) for s in samples]
    for i, whole in enumerate(together):
        np.testing.assert_allclose(whole, np.concatenate([a[i] for a in apart]), rtol=1e-5, atol=1e-5)


def test_a_small_picture_gets_no_more_patches_than_cover_it(runtime):
    from vqafast.models.views import quality_view
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
