"""The papers' models by name: figures as printed, heads that train, rows that use what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.models.small import write  # noqa: E402

from vqafast.errors import InvalidArgument, MissingFile  # noqa: E402
from vqafast.models import registry  # noqa: E402
from vqafast.models.a2inet.config import HeadConfig  # noqa: E402
from vqafast.models.a2inet.modules import A2INetHead  # noqa: E402
from vqafast.models.a2inet.network import A2INet, build  # noqa: E402
from vqafast.models.a2inet.runtime import A2INetRuntime  # noqa: E402
from vqafast.models.a2inet.variants import (  # noqa: E402
    TABLES,
    TRAINING,
    VARIANTS,
    Variant,
    build_backbones,
    variant,
)
from vqafast.models.backbones.official import OFFICIAL  # noqa: E402
from vqafast.models.backbones.table import BACKBONES, construct  # noqa: E402

SMALL = {"dim": 8, "reduced_dim": 6, "gru_dim": 4, "gate_reduction": 2}
NAMES = sorted(VARIANTS)


def small_head(v: Variant, **changes: Any) -> A2INetHead:
    torch.manual_seed(3)
    return A2INetHead(replace(v.head, quality_dim=12, semantic_dim=10, **SMALL, **changes)).eval()


def features(seed: int = 0, steps: int = 9) -> tuple[Any, Any]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, steps, 12, generator=g), torch.randn(2, steps, 10, generator=g)


def test_every_row_has_a_name() -> None:
    assert {n: len(rows) for n, rows in TABLES.items()} == {2: 4, 4: 6, 5: 24, 6: 10, 7: 7}
    assert len(VARIANTS) == 51 + 1
    assert replace(VARIANTS["a2inet"], name="x") == replace(VARIANTS["a2inet-pr-ss"], name="x")
    assert all(registry.NAME.fullmatch(name) and v.name == name for name, v in VARIANTS.items())
    assert len({v.paper for v in VARIANTS.values()}) == len(VARIANTS) - 1
    assert TRAINING == {"lr": 2e-5, "batch": 8, "eta": 1.0}
    with pytest.raises(InvalidArgument, match=r"variant must be one of a2inet, .*got 'table8-x'"):
        variant("table8-x")


def test_the_page_lists_them_all() -> None:
    """docs/models.md; ``{a,b}`` stands for either."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    page = page[page.index("## Variants of A2INet") :]
    listed = set()
    for cell in re.findall(r"^\| `([^`]+)` \|", page, re.M):
        choices = [part.split(",") for part in re.findall(r"\{([^}]+)\}", cell)]
        listed |= {re.sub(r"\{[^}]+\}", "{}", cell).format(*chosen) for chosen in product(*choices)}
    assert set(VARIANTS) <= listed
    assert listed <= set(VARIANTS) | set(OFFICIAL)
    for name, entry in OFFICIAL.items():
        assert f"`{name}`" in page
        assert entry.url is None or f"({entry.url})" in page


def test_the_papers_models() -> None:
    fr, pr = variant("a2inet-fr-ss"), variant("a2inet-pr-sm")
    assert fr.head == HeadConfig() == variant("table6-ss-cgin").head
    assert pr.head == HeadConfig(semantic_dim=512)
    assert (fr.sampling.kind, fr.quality.patches, fr.semantic.short_side) == ("every_frame", None, None)
    assert (pr.sampling.kind, pr.sampling.n, pr.sampling.window) == ("uniform_count", 128, None)
    assert (pr.quality.patches, pr.quality.size, pr.semantic.short_side) == ((2, 2), 768, 540)
    assert (fr.semantic.temporal, pr.semantic.temporal) == (None, "window")
    assert pr.semantic.mean == (0.45, 0.45, 0.45)
    # Section 4.5: the ablations take the whole video.
    assert {v.sampling.kind for n in (4, 5, 6, 7) for v in TABLES[n]} == {"every_frame"}


def test_figures_add_up_to_the_papers_averages() -> None:
    """Table 2, column W.A.: weighted by the sizes of the sets."""
    sizes = {"live_qualcomm": 208, "cvd2014": 234, "live_vqc": 585, "youtube_ugc": 1142, "konvid1k": 1200}
    printed = {
        "a2inet-pr-ss": (0.8610, 0.8561), "a2inet-fr-ss": (0.8631, 0.8577),
        "a2inet-pr-sm": (0.8705, 0.8729), "a2inet-fr-sm": (0.8763, 0.8794),
    }  # fmt: skip
    for name, means in printed.items():
        figures = VARIANTS[name].published
        for kind, mean in zip(("plcc", "srcc"), means, strict=True):
            got = sum(figures[s][kind] * n for s, n in sizes.items()) / sum(sizes.values())
            assert abs(got - mean) < 1.5e-4, (name, kind)


def test_figures_give_the_papers_improvements() -> None:
    """Table 5's improvements over Concat, per cent, computed from its figures."""
    printed = {
        ("mlp", "live_vqc"): (0.77, 2.31, 2.01, 2.11, 1.06, 1.41, 1.16, 0.04),
        ("mlp", "konvid1k"): (-0.28, 0.87, 2.29, 0.07, 0.48, 2.67, 1.13, 0.13),
        ("cagi", "live_vqc"): (5.28, 6.90, 3.68, 5.77, 5.62, 7.29, 4.60, 5.52),
        ("cagi", "konvid1k"): (2.73, 4.91, 2.97, 3.73, 2.13, 5.67, 1.31, 4.51),
    }
    columns = [f"{q}-{s}" for q in ("cnn", "vit") for s in ("cnn", "vit", "fast", "swin")]
    for (module, data), values in printed.items():
        for column, value in zip(columns, values, strict=True):
            before = VARIANTS[f"table5-{column}-concat"].published[data]["srcc"]
            after = VARIANTS[f"table5-{column}-{module}"].published[data]["srcc"]
            # The paper rounds some of them down.
            assert abs(100 * (after / before - 1) - value) < 0.011, (module, data, column)


def test_repeated_rows_are_one_model_with_one_figure() -> None:
    same = [
        ("table4-sq-ss", "table5-cnn-cnn-concat", "table7-ss-fe"),
        ("table4-sq-ms", "table5-cnn-fast-concat", "table7-sm-fe"),
        ("table5-cnn-cnn-cagi", "table7-ss-fe-gi"),
        ("table5-cnn-fast-cagi", "table7-sm-fe-gi"),
        ("a2inet-fr-ss", "table6-ss-cgin", "table7-ss-fe-gi-tm"),
        ("a2inet-fr-sm", "table6-sm-cgin", "table7-sm-fe-gi-tm"),
    ]
    for first, *others in same:
        a = VARIANTS[first]
        for name in others:
            b = VARIANTS[name]
            assert replace(a, name="", paper="", published={}) == replace(b, name="", paper="", published={})
            for data in set(a.published) & set(b.published):
                assert a.published[data]["srcc"] == b.published[data]["srcc"], (first, name, data)


@pytest.mark.parametrize("name", NAMES)
def test_dims_are_those_of_the_backbones(name: str) -> None:
    v = VARIANTS[name]
    q, s = BACKBONES[v.quality_backbone], BACKBONES[v.semantic_backbone]
    assert (v.head.quality_dim, v.head.semantic_dim) == (q.dim, s.dim)
    assert (v.quality.mean, v.semantic.std) == (q.mean, s.std)
    assert not q.motion
    assert (v.semantic.temporal == "window") is s.motion


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_are_what_the_table_says(name: str) -> None:
    with torch.device("meta"):
        net = construct(name)
    assert 2 * sum(net.channels) == BACKBONES[name].dim  # type: ignore[arg-type]


def test_unknown_backbone() -> None:
    with pytest.raises(InvalidArgument, match=r"backbone must be one of \['resnet34_iqa'.*got 'vgg'"):
        construct("vgg")


@pytest.mark.parametrize("name", NAMES)
def test_heads_train(name: str) -> None:
    head = small_head(VARIANTS[name]).train()
    score, frames = head(*features(), lengths=torch.tensor([9, 5]))
    assert score.shape == (2,)
    assert frames.shape == (2, 9)
    score.sum().backward()
    silent = {
        n.rsplit(".", 1)[0]
        for n, p in head.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    }
    # One direction deforms one feature: the other's guides have no part in the score.
    unused = {
        ("fgin", "s_to_q"): {"align.gamma_x", "align.theta_x"},
        ("fgin", "q_to_s"): {"align.gamma_y", "align.theta_y"},
    }
    assert silent == unused.get((head.config.mode, head.config.direction), set())


@pytest.mark.parametrize(
    ("name", "used"),
    [("table4-sq", 0), ("table4-ss", 1), ("table4-ms", 1), ("table7-baseline", 1)],
)
def test_single_feature_rows_use_one_feature(name: str, used: int) -> None:
    v = VARIANTS[name]
    head = small_head(v)
    quality, semantic = features()
    inputs = [quality.requires_grad_(), semantic.requires_grad_()]
    score = head(*inputs)[0]
    score.sum().backward()
    assert inputs[used].grad.abs().sum() > 0
    assert inputs[1 - used].grad is None or not inputs[1 - used].grad.any()
    others = list(features(seed=1))
    others[used] = inputs[used]
    assert torch.equal(head(*others)[0], score)
    swapped = list(features(seed=1))
    swapped[1 - used] = inputs[1 - used]
    assert not torch.equal(head(*swapped)[0], score)
    # The first layer is as wide as that feature: nothing was hidden by zeros.
    dims = (BACKBONES[v.quality_backbone].dim, BACKBONES[v.semantic_backbone].dim)
    with torch.device("meta"):
        assert A2INetHead(v.head).temporal.head.reduce.in_features == dims[used]


def test_two_features_both_matter() -> None:
    for name in ("table4-sq-ss", "table4-ss-ms", "table5-cnn-swin-mlp"):
        inputs = [f.requires_grad_() for f in features()]
        small_head(VARIANTS[name])(*inputs)[0].sum().backward()
        assert all(f.grad.abs().sum() > 0 for f in inputs), name


def test_mlp_has_dropout_of_its_own() -> None:
    head = small_head(VARIANTS["table5-cnn-cnn-mlp"])
    kinds = [type(m).__name__ for m in head.temporal.mlp]
    assert kinds == ["Linear", "ReLU", "Dropout"]
    assert (head.temporal.mlp[2].p, head.temporal.head.dropout.p) == (0.5, 0.0)


def test_bad_feature_choices() -> None:
    with pytest.raises(InvalidArgument, match="features must be one of"):
        HeadConfig(features="motion")
    with pytest.raises(InvalidArgument, match="features must be 'both' for cagi"):
        HeadConfig(features="quality")
    with pytest.raises(InvalidArgument, match=r"mlp_dropout must be in \[0, 1\), got 1"):
        HeadConfig(mlp_dropout=1.0)


def test_heads_from_before_these_fields_still_load() -> None:
    stored = registry.load().head.config
    config = HeadConfig.from_dict({k: v for k, v in stored.items() if k not in ("features", "mlp_dropout")})
    assert (config.features, config.interaction, config.dim) == ("both", "cagi", 128)


@pytest.mark.parametrize("used", ["quality", "semantic"])
def test_single_features_survive_export(tmp_path: Path, used: str) -> None:
    spec, parity, (_, _, head) = write(tmp_path, interaction="concat", catm=False, features=used)
    assert parity["temporal"] < 1e-4
    g = np.random.default_rng(0)
    q, s, other = (g.standard_normal((4, 20)).astype(np.float32) for _ in range(3))
    runtime = A2INetRuntime(spec, threads=1)
    got = runtime.frame_scores(q, s)
    with torch.no_grad():
        expected = head.frame_scores(torch.from_numpy(q[None]), torch.from_numpy(s[None]))[0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    same = runtime.frame_scores(q, other) if used == "quality" else runtime.frame_scores(other, s)
    np.testing.assert_array_equal(got, same)
    moved = runtime.frame_scores(other, s) if used == "quality" else runtime.frame_scores(q, other)
    assert np.abs(moved - got).max() > 1e-4


@pytest.fixture(scope="module")
def nets() -> dict[str, Any]:
    torch.manual_seed(0)
    return {name: construct(name) for name in BACKBONES}


PAIRS = sorted({(v.quality_backbone, v.semantic_backbone) for v in VARIANTS.values()})


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_networks_train(nets: dict[str, Any], pair: tuple[str, str]) -> None:
    """Frames in, gradients in the head: every pair of backbones with the first head that has it."""
    v = next(v for v in VARIANTS.values() if (v.quality_backbone, v.semantic_backbone) == pair)
    head = replace(v.head, **SMALL)
    net = A2INet(nets[pair[0]], nets[pair[1]], head, motion=v.semantic.temporal == "window").train()
    g = torch.Generator().manual_seed(0)
    score, frames = net(
        torch.randn(1, 3, 1, 3, 64, 80, generator=g), torch.randn(1, 3, 3, 64, 96, generator=g)
    )
    assert frames.shape == (1, 3)
    assert torch.isfinite(score).all()
    score.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in net.head.parameters())
    assert all(p.grad is None for p in [*net.quality.parameters(), *net.semantic.parameters()])


def test_build_needs_weights_or_a_wish_for_none() -> None:
    v = variant("table4-ms")
    with pytest.raises(MissingFile, match=r"semantic weights for slowfast_fast .*'slowfast-kinetics'"):
        build_backbones(v)
    quality, semantic = build_backbones(v, random=True)
    assert not any(p.requires_grad for p in [*quality.parameters(), *semantic.parameters()])
    assert not semantic.training
    assert build(v, random=True).motion
    with pytest.raises(MissingFile, match="weights must be a file"):
        build_backbones(v, semantic_weights="/nowhere/s.pyth")
