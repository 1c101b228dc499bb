"""Several heads in one graph pair, bitstream features, and what model.json says of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small import build, pair_description  # noqa: E402

from vqafast.errors import InvalidArgument, ModelError  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.ensemble import export_ensemble  # noqa: E402
from vqafast.models.a2inet.export import export_model  # noqa: E402
from vqafast.models.a2inet.kernel import KernelRegression  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.model_json import parse, to_json  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE  # noqa: E402
from vqafast.models.spec import BitstreamView, Uncertainty  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = Uncertainty(1.5, 2.0, ((0.0, 2.0), (50.0, 1.0), (100.0, 0.5)), 0.9, "against nothing")
STREAM = BitstreamView(("key_bits", "qp"), ((-8.0, 4.0), (0.0, 1.0)))


def write(directory: Path, count: int, **more: Any) -> Any:
    config = more.pop("config", {})
    quality, semantic, head = build(**config)
    heads = [head]
    for seed in range(1, count):
        torch.manual_seed(seed)
        heads.append(A2INetHead(head.config).eval())
    spec, parity = export_ensemble(
        directory, pair_description(), quality=quality, semantic=semantic, heads=heads,
        sizes=((48, 64), (40, 56)), **more,
    )  # fmt: skip
    assert max(parity.values()) <= TOLERANCE
    assert registry.load(directory) == spec
    return spec, heads


def features(steps: int, dims: tuple[int, int] = (20, 20)) -> Any:
    rng = np.random.default_rng(steps)
    return tuple(rng.normal(size=(steps, dim)).astype(np.float32) for dim in dims)


def truth(heads: Any, quality: Any, semantic: Any) -> Any:
    with torch.no_grad():
        inputs = torch.from_numpy(quality)[None], torch.from_numpy(semantic)[None]
        return np.stack([head.frame_scores(*inputs)[0].numpy() for head in heads])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"mode": "adain", "direction": "q_to_s", "standardise": True},
        {"mode": "fgin", "direction": "s_to_q"},
        {"interaction": "concat", "catm": False},
    ],
    ids=str,
)
def test_each_head_gives_its_own_scores(tmp_path: Path, config: Any) -> None:
    spec, heads = write(tmp_path, 3, config=config)
    assert spec.members == 3
    runtime = A2INetRuntime(spec, threads=1)
    for steps in (1, 5, 8, 40):
        quality, semantic = features(steps)
        got, expected = runtime.member_scores(quality, semantic), truth(heads, quality, semantic)
        assert got.shape == (3, steps)
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
        assert np.ptp(expected, axis=0).min() > 1e-3
        np.testing.assert_allclose(runtime.frame_scores(quality, semantic), expected.mean(axis=0), atol=1e-4)


def test_one_head_is_like_a_plain_model(tmp_path: Path) -> None:
    spec, (head,) = write(tmp_path / "one", 1)
    quality, semantic, _ = build()
    plain, _ = export_model(
        tmp_path / "plain", pair_description(), quality=quality, semantic=semantic, head=head,
        sizes=((48, 64), (40, 56)),
    )  # fmt: skip
    a, b = to_json(spec), to_json(plain)
    assert set(a) == set(b)
    assert "members" not in a
    inputs = features(8)
    np.testing.assert_allclose(
        A2INetRuntime(spec, threads=1).member_scores(*inputs),
        A2INetRuntime(plain, threads=1).member_scores(*inputs),
        atol=1e-6,
    )


def test_bitstream_features_stand_behind_both(tmp_path: Path) -> None:
    dims = {"quality_dim": 22, "semantic_dim": 22}
    spec, heads = write(tmp_path, 2, config=dims, bitstream=STREAM)
    assert spec.picture_dims == (20, 20)
    runtime = A2INetRuntime(spec, threads=1)
    quality, semantic = features(6)
    constant = np.array([-3.25, 0.5], np.float32)
    rows = np.tile(constant, (6, 1))
    expected = truth(heads, np.hstack([quality, rows]), np.hstack([semantic, rows]))
    np.testing.assert_allclose(runtime.member_scores(quality, semantic, constant), expected, atol=1e-4)
    moved = runtime.member_scores(quality, semantic, constant + 1)
    assert np.abs(moved - expected).max() > 1e-3
    for wrong in (None, constant[:1]):
        with pytest.raises(InvalidArgument, match=r"needs 2 bitstream features, got [01]"):
            runtime.member_scores(quality, semantic, wrong)


def test_model_json_keeps_everything(tmp_path: Path) -> None:
    spec, _ = write(tmp_path, 2, uncertainty=KNOWN, keep=("head_1",))
    text = json.loads((tmp_path / "model.json").read_text())
    assert text["schema"] == 1
    assert text["members"] == 2
    assert text["uncertainty"]["knots"] == [[0.0, 2.0], [50.0, 1.0], [100.0, 0.5]]
    assert registry.load(tmp_path).uncertainty == KNOWN
    assert "head_1.safetensors" in spec.files


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("uncertainty", {"spread": -1}, r"uncertainty.spread must be a finite number in \[0"),
        ("uncertainty", {"knots": []}, "uncertainty.knots must be a list of one or more pairs"),
        ("uncertainty", {"knots": [[50, 1], [50, 2]]}, r"rising scores, got \[50.0, 50.0\]"),
        ("uncertainty", {"knots": [[50, -1]]}, "factors of 0 or more"),
        ("uncertainty", {"coverage": 90}, r"coverage must be a finite number in \[0.0, 1.0\]"),
        ("uncertainty", {"extra": 1}, r"unknown fields \['uncertainty.extra'\]"),
        ("bitstream", {"features": ["qp"]}, "ranges must have a pair for each of 1 features, got 2"),
        ("bitstream", {"features": ["qp", "qp"]}, "must be different names"),
        ("bitstream", {"features": "qp"}, "features must be a list of one or more non-empty strings"),
        ("bitstream", {"ranges": [[1, 0], [0, 1]]}, "low <= high"),
    ],
)
def test_wrong_sections(tmp_path: Path, section: str, change: Any, message: str) -> None:
    spec, _ = write(
        tmp_path, 2, config={"quality_dim": 22, "semantic_dim": 22}, bitstream=STREAM, uncertainty=KNOWN
    )
    data = to_json(spec)
    (data if section == "uncertainty" else data["views"])[section].update(change)
    with pytest.raises(ModelError, match=message):
        parse(data, tmp_path)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="members must be at least 2 for an uncertainty, got 1"):
        write(tmp_path / "a", 1, uncertainty=KNOWN)
    spec, _ = write(tmp_path / "b", 1)
    many = BitstreamView(tuple(f"f{i}" for i in range(20)), ((0.0, 1.0),) * 20)
    data = to_json(replace(spec, bitstream=many))
    with pytest.raises(ModelError, match="must be above the number of bitstream features"):
        parse(data, tmp_path)
    quality, semantic, head = build()
    parts = {"quality": quality, "semantic": semantic}
    with pytest.raises(InvalidArgument, match="heads must be one or more with equal configs, got 0"):
        export_ensemble(tmp_path, pair_description(), **parts, heads=[])
    other = A2INetHead(replace(head.config, dim=16))
    with pytest.raises(InvalidArgument, match="equal configs, got 2"):
        export_ensemble(tmp_path, pair_description(), **parts, heads=[head, other])
    with pytest.raises(InvalidArgument, match="quality must be a module exactly when"):
        export_ensemble(tmp_path, pair_description(), quality=None, semantic=semantic, heads=[head])
    spec, _ = write(
        tmp_path / "c", 1, config={"quality_dim": 22, "semantic_dim": 22},
        bitstream=BitstreamView(("key_bits", "smell"), ((0.0, 1.0),) * 2),
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"bitstream features must be among .*, got \['smell'\]"):
        A2INetRuntime(spec, threads=1)


@pytest.mark.parametrize(
    ("score", "factor"), [(-5, 2.0), (0, 2.0), (25, 1.5), (50, 1.0), (75, 0.75), (100, 0.5), (120, 0.5)]
)
def test_half_width(score: float, factor: float) -> None:
    assert KNOWN.half_width(score, 3.0) == pytest.approx(math.sqrt(1.5**2 + 6**2) * factor)
    assert factor == pytest.approx(np.interp(score, *np.array(KNOWN.knots).T))
    single = replace(KNOWN, knots=((50.0, 0.7),))
    assert single.half_width(score, 0.0) == pytest.approx(1.5 * 0.7)


def regression(seed: int, dim: int = 20) -> KernelRegression:
    made = torch.Generator().manual_seed(seed)
    kernel = KernelRegression(dim, 4, 9)
    for name in ("projection", "landmarks", "coefficients", "offset"):
        buffer = kernel.get_buffer(name)
        buffer.copy_(torch.randn(buffer.shape, generator=made) * 0.3)
    kernel.squares.copy_(kernel.landmarks.square().sum(dim=0))
    return kernel.eval()


def test_a_kernel_regression_beside_each_head(tmp_path: Path) -> None:
    kernels = [regression(seed) for seed in range(2)]
    spec, heads = write(tmp_path, 2, kernels=kernels, share=0.25)
    runtime = A2INetRuntime(spec, threads=1)
    for steps in (1, 5, 40):
        quality, semantic = features(steps)
        beside = np.stack([kernel(torch.from_numpy(quality)).numpy() for kernel in kernels])
        assert np.ptp(beside, axis=0).min() > 1e-3
        expected = 0.75 * truth(heads, quality, semantic) + 0.25 * beside
        np.testing.assert_allclose(runtime.member_scores(quality, semantic), expected, atol=1e-4)


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (2, 0.0), (0, 0.5), (2, 1.5)])
def test_kernels_and_their_share_belong_together(tmp_path: Path, count: int, share: float) -> None:
    with pytest.raises(
        InvalidArgument, match="kernels must be none with share 0, or one for each of 2 heads"
    ):
        write(tmp_path, 2, kernels=[regression(k) for k in range(count)], share=share)


def test_a_kernel_regression_is_its_formula() -> None:
    kernel = regression(3).double()
    kernel.squares.copy_(kernel.landmarks.square().sum(dim=0))  # was rounded to float
    kernel.scale.copy_(torch.linspace(0.5, 2, 20))
    kernel.mean.copy_(torch.linspace(-1, 1, 20))
    kernel.std.copy_(torch.linspace(1, 3, 20))
    q = np.random.default_rng(0).normal(size=(2, 3, 20))
    parts = {name: buffer.numpy() for name, buffer in kernel.named_buffers()}
    z = (np.arcsinh(q / parts["scale"]) - parts["mean"]) / parts["std"]
    apart = (z @ parts["projection"])[..., None, :] - parts["landmarks"].T
    expected = np.exp(-(apart**2).sum(-1)) @ parts["coefficients"] + parts["offset"]
    np.testing.assert_allclose(kernel(torch.from_numpy(q)), expected, rtol=1e-10)
