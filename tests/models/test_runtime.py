"""Export and the torch-free runtime against the torch modules, from native frames to the score."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small import build, features, ingest, pair_description, write  # noqa: E402

from vqafast.errors import InvalidArgument, ModelError, TooSmall, Unsupported  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.export import _backbone, export_model  # noqa: E402
from vqafast.models.a2inet.functional import moment_pool  # noqa: E402
from vqafast.models.a2inet.lite import QUALITY_DIM, QUALITY_MAPS  # noqa: E402
from vqafast.models.a2inet.lite import QUALITY_VIEW as LITE_VIEW  # noqa: E402
from vqafast.models.a2inet.network import A2INet  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.backbones.resnet import resnet34_iqa  # noqa: E402
from vqafast.models.model_json import parse  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE  # noqa: E402
from vqafast.models.spec import QualityView, SamplingSpec, SemanticView  # noqa: E402
from vqafast.ops import scene_statistics  # noqa: E402
from vqafast.scoring.report import pooler_of  # noqa: E402
from vqafast.video.sampling import EveryFrame, TimeGrid, UniformCount  # noqa: E402
from vqafast.video.source import ColorSpec, Frame, PixelLayout, Sampled  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

YUV = PixelLayout("yuv420p", 8, False, 1, 1, False, True)
BT709 = ColorSpec("bt709", False, "bt709")


def frame(index: int, width: int = 96, height: int = 64, **more: Any) -> Frame:
    rng = np.random.default_rng(index)
    y = rng.integers(16, 236, (height, width), dtype=np.uint8)
    u, v = rng.integers(16, 241, (2, (height + 1) // 2, (width + 1) // 2), dtype=np.uint8)
    return Frame((y, u, v), index / 25, index, False, False, YUV, BT709, width, height, **more)


def sample(k: int, **more: Any) -> Sampled:
    return Sampled(k, (frame(2 * k, **more), frame(2 * k + 1, **more)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("tiny")
    spec, parity, nets = write(directory)
    assert registry.load(directory) == spec
    assert set(parity) == {"quality", "semantic", "align", "temporal"}
    assert max(parity.values()) <= TOLERANCE
    return spec, nets


def torch_features(views: list[dict[str, Any]], nets: Any) -> tuple[Any, Any]:
    with torch.no_grad():
        q = [moment_pool(nets[0](torch.from_numpy(v["quality"]))).mean(dim=0) for v in views]
        s = [moment_pool(nets[1](torch.from_numpy(v["semantic"])))[0] for v in views]
    return torch.stack(q), torch.stack(s)


def close(a: Any, b: Any, tolerance: float = 1e-4) -> None:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * max(1e-3, np.abs(b).max())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_frames_to_score(tiny: Any, count: int) -> None:
    spec, nets = tiny
    runtime = A2INetRuntime(spec, threads=1)
    views = [ingest(runtime, sample(k)) for k in range(count)]
    assert views[0]["quality"].shape == (4, 2, 48, 48)
    assert views[0]["semantic"].shape == (1, 3, 40, 60)
    q, s = features(runtime, views)
    tq, ts = torch_features(views, nets)
    close(q, tq)
    close(s, ts)
    raw = runtime.frame_scores(q, s)
    with torch.no_grad():
        score, expected = nets[2](tq[None], ts[None])
    close(raw, expected[0])
    pooled = pooler_of(spec).pool(raw, "hysteresis")
    assert pooled == pytest.approx(min(max(float(score[0]) * 10 + 50, 0), 100), abs=1e-3)


def test_batches_sizes_and_threads_do_not_matter(tiny: Any) -> None:
    runtime = A2INetRuntime(tiny[0], threads=1)
    samples = [sample(0), sample(1, width=120, height=70), sample(2), sample(3, width=40, height=33)]
    views = [ingest(runtime, s) for s in samples]
    q, s = features(runtime, views)
    for other in (runtime, A2INetRuntime(tiny[0], threads=2)):
        for i, view in enumerate(views):
            one = features(other, [view])
            close(one[0][0], q[i])
            close(one[1][0], s[i])


def test_pair_view(tiny: Any) -> None:
    runtime = A2INetRuntime(tiny[0], threads=1)
    pair, short = sample(0), Sampled(0, (frame(0),))
    a, b = runtime.ingest_quality(pair), runtime.ingest_quality(short)
    np.testing.assert_array_equal(a[:, 0], b[:, 0])
    np.testing.assert_array_equal(b[:, 0], b[:, 1])
    assert not np.array_equal(a[:, 0], a[:, 1])
    changed = Sampled(0, (frame(0), frame(1, width=80)))
    np.testing.assert_array_equal(runtime.ingest_quality(changed), b)
    assert runtime.ingest_quality(pair, draw=1).shape == a.shape
    grid_view = runtime.ingest_quality(Sampled(0, (frame(0, width=48, height=48),)))[0, 0]
    expected = (frame(0, width=48, height=48).planes[0].astype(np.float64) - 16) / 219
    np.testing.assert_allclose(grid_view, (np.clip(expected, 0, 1) - 0.5) / 0.25, atol=1e-4)


def test_rotation_and_sample_aspect(tiny: Any) -> None:
    runtime = A2INetRuntime(tiny[0], threads=1)
    turned = runtime.ingest_semantic(sample(0, rotation=90))
    assert turned.shape == (1, 3, 60, 40)
    wide = runtime.ingest_semantic(sample(0, sample_aspect_ratio=Fraction(4, 3)))
    assert wide.shape == (1, 3, 40, 80)


def test_selectors(tiny: Any) -> None:
    runtime = A2INetRuntime(tiny[0], threads=1)
    assert runtime.selector() == TimeGrid(Fraction(30000, 1001), burst=2)
    assert (runtime.window, runtime.whole_windows) == (4, False)
    for sampling, expected in (
        (SamplingSpec("uniform_count", n=128), UniformCount(128)),
        (SamplingSpec("every_frame"), EveryFrame()),
    ):
        spec = parse(
            {**registry_json(tiny[0]), "sampling": {"kind": sampling.kind, "burst": 2} | n_of(sampling)},
            tiny[0].directory,
        )
        selector = A2INetRuntime(spec, threads=1).selector()
        assert (type(selector), selector.burst) == (type(expected), 2)


def n_of(sampling: SamplingSpec) -> dict[str, int]:
    return {} if sampling.n is None else {"n": sampling.n}


def registry_json(spec: Any) -> dict[str, Any]:
    from vqafast.models.model_json import to_json

    return to_json(spec)


def test_errors(tiny: Any) -> None:
    with pytest.raises(Unsupported, match="no graphs calibrated for int8"):
        A2INetRuntime(tiny[0], precision="int8")
    runtime = A2INetRuntime(tiny[0], threads=1)
    for features_of in (runtime.quality_features, runtime.semantic_features):
        with pytest.raises(InvalidArgument, match="must not be empty"):
            features_of([])
    with pytest.raises(InvalidArgument, match=r"semantic must be \(T, 20\)"):
        runtime.frame_scores(np.zeros((2, 20), np.float32), np.zeros((3, 20), np.float32))
    with pytest.raises(ModelError, match="finite"):
        runtime.frame_scores(np.full((1, 20), np.nan, np.float32), np.zeros((1, 20), np.float32))


VARIANTS: dict[str, dict[str, Any]] = {
    "fgin": {"mode": "fgin", "direction": "s_to_q"},
    "adain": {"mode": "adain", "direction": "q_to_s"},
    "concat": {"interaction": "concat", "catm": False, "standardise": True},
    "concat_mlp": {"interaction": "concat_mlp", "dropout": 0.5},
    "choices": {"gru_bidirectional": True, "attention": False, "standardise": True, "conv_kernel": 5},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_ablations_run_from_a_directory(tmp_path: Path, name: str) -> None:
    spec, _, nets = write(tmp_path, **VARIANTS[name])
    runtime = A2INetRuntime(spec, threads=1)
    rng = np.random.default_rng(0)
    for steps in (1, 5, 128):
        q = rng.normal(size=(steps, 20)).astype(np.float32)
        s = rng.normal(size=(steps, 20)).astype(np.float32)
        with torch.no_grad():
            expected = nets[2](torch.from_numpy(q)[None], torch.from_numpy(s)[None])[1][0]
        close(runtime.frame_scores(q, s), expected)


def test_full_resolution_motion_model(tmp_path: Path) -> None:
    """FR (S+M): whole frames, every frame, a semantic backbone that convolves over time."""
    description = pair_description(
        sampling=SamplingSpec("every_frame", burst=2),
        quality=QualityView(None, None, 1, "luma", (0.5,), (0.25,), "pair"),
        semantic=SemanticView(None, "rgb", (0.45,) * 3, (0.225,) * 3, "window"),
    )
    spec, parity, nets = write(tmp_path, description, motion=True)
    assert max(parity.values()) <= TOLERANCE
    runtime = A2INetRuntime(spec, threads=1)
    assert (runtime.window, runtime.whole_windows) == (None, True)
    views = [ingest(runtime, sample(k, width=64, height=48)) for k in range(6)]
    assert views[0]["quality"].shape == (1, 2, 48, 64)
    q, s = features(runtime, views)
    net = A2INet(nets[0], nets[1], nets[2].config, motion=True, frame_batch=4)
    net.head.load_state_dict(nets[2].state_dict())
    stacked = [torch.from_numpy(np.stack([v[n] for v in views]))[None] for n in ("quality", "semantic")]
    with torch.no_grad():
        score, expected = net.eval()(stacked[0], stacked[1][:, :, 0])
        padded = [torch.cat([t, torch.zeros_like(t[:, :2])], dim=1) for t in stacked]
        alone, _ = net(padded[0], padded[1][:, :, 0], torch.tensor([6]))
    raw = runtime.frame_scores(q, s)
    close(raw, expected[0])
    assert pooler_of(spec).pool(raw, "hysteresis") == pytest.approx(float(score[0]) * 10 + 50, abs=1e-3)
    torch.testing.assert_close(alone, score)


def test_resnet_graph_equals_torch() -> None:
    net = resnet34_iqa(width=4)
    _, error = _backbone("quality", net, channels=3, size=(64, 80), dim=120, clip=False)
    assert error <= TOLERANCE


def test_frozen_backbones_stay_frozen() -> None:
    quality, semantic, head = build()
    net = A2INet(quality, semantic, head.config).train()
    assert net.head.training
    assert not net.semantic.training
    assert {n.split(".")[0] for n, p in net.named_parameters() if p.requires_grad} == {"head"}
    with pytest.raises(InvalidArgument, match="quality must be"):
        net(torch.zeros(1), torch.zeros(1))


def test_export_is_reproducible_and_private(tmp_path: Path) -> None:
    first, _, _ = write(tmp_path / "a")
    second, _, _ = write(tmp_path / "b")
    assert first.weights_sha256 == second.weights_sha256
    for name in first.files:
        assert b".py" not in (tmp_path / "a" / name).read_bytes()


def test_adaptive_grid_covers_the_picture_and_no_more(tiny: Any) -> None:
    """`patches` is the largest grid: one patch of 48 for each 48 pixels begun in either direction."""
    spec = replace(tiny[0], quality=replace(tiny[0].quality, patches=(3, 2), adaptive=True))
    fixed = replace(tiny[0], quality=replace(tiny[0].quality, patches=(3, 2)))
    adaptive, always = A2INetRuntime(spec, threads=1), A2INetRuntime(fixed, threads=1)
    for (width, height), count in (
        ((200, 200), 6), ((144, 96), 6), ((97, 48), 3), ((96, 49), 4), ((48, 48), 1), ((40, 33), 1),
    ):  # fmt: skip
        pair = sample(0, width=width, height=height)
        assert adaptive.ingest_quality(pair).shape[0] == count
        assert always.ingest_quality(pair).shape[0] == 6


def test_features_of_an_op_need_no_graph(tmp_path: Path) -> None:
    description = pair_description(quality=LITE_VIEW)
    _, semantic, head = build(quality_dim=QUALITY_DIM)
    spec, parity = export_model(
        tmp_path, description, quality=None, semantic=semantic, head=head, sizes=((48, 64), (40, 56))
    )
    assert "quality.onnx" not in spec.files
    assert "quality" not in parity
    assert registry.load(tmp_path).quality.features == "scene_statistics"
    runtime = A2INetRuntime(spec, threads=1)
    views = [runtime.ingest_quality(sample(k, width=120, height=96)) for k in range(2)]
    got = runtime.quality_features(views)
    expected = [
        np.concatenate([scene_statistics.reference(v, of=of).mean(axis=0) for of in QUALITY_MAPS])
        for v in views
    ]
    close(got, np.stack(expected), 1e-3)
    # What the op cannot take is refused in words about the video, before any of it is decoded.
    assert runtime.min_side == 96
    with pytest.raises(TooSmall, match=r"x\.mp4: model tiny needs pictures of at least 96 .* got 200x95"):
        runtime.check_size(200, 95, "x.mp4")
    with pytest.raises(TooSmall, match="got 95x200"):
        runtime.ingest_quality(sample(0, width=95, height=200))


def test_export_refuses_what_does_not_fit(tmp_path: Path) -> None:
    quality, semantic, head = build()
    with pytest.raises(InvalidArgument, match="quality must be a module exactly when"):
        export_model(tmp_path, pair_description(), quality=None, semantic=semantic, head=head)
    with pytest.raises(InvalidArgument, match="quality must be a module exactly when"):
        export_model(
            tmp_path, pair_description(quality=LITE_VIEW), quality=quality, semantic=semantic, head=head
        )
    with pytest.raises(InvalidArgument, match="quality must give 20 pooled features"):
        export_model(
            tmp_path, pair_description(), quality=torch.nn.Sequential(quality, Doubled()),
            semantic=semantic, head=head,
        )  # fmt: skip
    with pytest.raises(ModelError, match="takes Python values from tensors"):
        export_model(tmp_path, pair_description(), quality=Baked(quality), semantic=semantic, head=head)
    with pytest.raises(InvalidArgument, match="must return a tuple"):
        export_model(
            tmp_path, pair_description(), quality=torch.nn.Conv2d(2, 2, 1), semantic=semantic, head=head
        )


class Doubled(torch.nn.Module):
    def forward(self, maps: Any) -> Any:
        return (*maps, *maps)


class Baked(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Any) -> Any:
        if frames.mean() > 100:
            frames = frames * 2
        return self.net(frames)


def test_runtime_needs_no_torch(tiny: Any) -> None:
    code = (
        "import sys, numpy as np\n"
        "from vqafast.models.registry import load\n"
        "from vqafast.models.a2inet.runtime import A2INetRuntime\n"
        f"r = A2INetRuntime(load({str(tiny[0].directory)!r}))\n"
        "r.frame_scores(np.zeros((3, 20), np.float32), np.zeros((3, 20), np.float32))\n"
        "print('torch' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
