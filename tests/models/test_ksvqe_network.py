"""KSVQE's network against its authors' algorithm written out slowly, in value and gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from vqafast.engines.onnx_operators import OPERATORS  # noqa: E402
from vqafast.errors import InvalidArgument  # noqa: E402
from vqafast.models.clip.visual import ClipConfig  # noqa: E402
from vqafast.models.fast_vqa.config import HeadConfig, Sampling, SwinConfig  # noqa: E402
from vqafast.models.ksvqe import reference  # noqa: E402
from vqafast.models.ksvqe.config import ContriqueConfig, KsvqeConfig  # noqa: E402
from vqafast.models.ksvqe.network import KSVQE  # noqa: E402
from vqafast.models.ksvqe.regions import (  # noqa: E402
    RegionSelection,
    key_frames,
    key_groups,
    key_spans,
    perturbed_top1,
)
from vqafast.models.onnx_export import TOLERANCE, export_graph, noise  # noqa: E402
from vqafast.training.losses import contrastive_distortion_loss  # noqa: E402

# 4 x 4 fragments of 8 pixels, of which 3 x 3 are kept; CLIP has 5 x 5 patches.
SMALL = KsvqeConfig(
    swin=SwinConfig(
        width=8, depths=(2, 1, 2), heads=(2, 4, 2), window=(4, 3, 3), fragment_bias=(True, True, False),
        drop_path=0.0,
    ),
    head=HeadConfig(32, 6, 0.0),
    sampling=Sampling(frames=8, interval=4, clips=3, grid=4, aligned=8, patch=8),
    clip=ClipConfig(side=20, patch=4, width=12, layers=3, heads=3, out=4),
    frames_side=20,
    contrique=ContriqueConfig(2, (1, 2, 1, 1), 8),
    adapter_start=1,
    tuning_stage=1,
    region=3,
    num_samples=7,
)  # fmt: skip
# What each is for, and frames of a clip.
CASES: dict[str, tuple[KsvqeConfig, int]] = {
    "small": (SMALL, 8),
    "all stages, one adapter, runs of unequal length": (replace(SMALL, tuning_stage=0, adapter_start=2), 14),
    "last stage, no adapter, one region": (replace(SMALL, tuning_stage=2, adapter_start=3, region=4), 10),
    "smaller key frames": (replace(SMALL, frames_side=12), 8),
    "larger key frames": (replace(SMALL, frames_side=28), 8),
    "other shares": (replace(SMALL, adapter_share=0.3, distortion_share=0.7, a1=0.5, a2=-1.0), 8),
}


def network(config: KsvqeConfig = SMALL) -> KSVQE:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = KSVQE(config)
        for name, p in net.named_parameters():
            if not name.endswith((".a1", ".a2")):
                # Large enough for attention to have a preference.
                std = 0.3 if p.ndim == 1 else 1.5 * p[0].numel() ** -0.5
                scale = p.ndim == 1 and name.endswith("weight")
                torch.nn.init.normal_(p, mean=1.0 if scale else 0.0, std=std)
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.normal_(std=0.3)
            elif name.endswith("running_var"):
                b.uniform_(0.5, 1.5)
    return net.eval()


def inputs(config: KsvqeConfig, batch: int, frames: int, seed: int = 1) -> tuple[Any, Any]:
    side, small = config.side, config.frames_side
    return noise(seed, (batch, 3, frames, side, side)), noise(seed + 1, (batch, 4, 3, small, small))


def state_of(net: KSVQE) -> dict[str, Any]:
    return dict(net.named_parameters()) | dict(net.named_buffers())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_equals_the_authors_algorithm(name: str, batch: int) -> None:
    config, frames = CASES[name]
    net = network(config).double()
    clips, keys = (t.double() for t in inputs(config, batch, frames))
    with torch.no_grad():
        truth, embeddings = reference.quality_map(state_of(net), config, clips, keys)
        torch.testing.assert_close(net.quality_map(clips, keys), truth, rtol=1e-9, atol=1e-9)
        scores, found = net.forward_with_distortion(clips, keys)
        assert torch.equal(net(clips, keys), scores)
    torch.testing.assert_close(found, embeddings, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scores, truth.mean((1, 2, 3)), rtol=1e-9, atol=1e-9)
    assert float(truth.std()) > 1e-3


def direct_top1(scores: Any, sigma: float, samples: int) -> Any:
    """The release's indicators and their gradient, with k = 1 spelt out; moves torch's generator."""
    rows, count = scores.shape
    z = torch.randn(rows, samples, count, dtype=scores.dtype)
    top = (scores.detach()[:, None] + z * sigma).topk(1, -1).indices.sort(-1).values
    hot = torch.nn.functional.one_hot(top, count).to(scores.dtype)
    slope = torch.einsum("nskd,nsd->nkd", hot, z) / samples / sigma
    # A value without gradient, and a gradient without value.
    return (hot.mean(1) + slope * (scores - scores.detach())[:, None])[:, 0]


def test_training_equals_the_authors_algorithm_in_value_and_gradient() -> None:
    config = SMALL
    net = network(config).double().train()
    clips, keys = (t.double() for t in inputs(config, 2, 10))
    state = state_of(net)
    names = [n for n, p in net.named_parameters() if p.requires_grad]

    def result(local: Any, embeddings: Any) -> Any:
        slopes = [
            torch.linspace(-1, 1, t.numel(), dtype=t.dtype).reshape(t.shape) for t in (local, embeddings)
        ]
        total = (local * slopes[0]).sum() + (embeddings * slopes[1]).sum()
        return total, *torch.autograd.grad(total, [state[n] for n in names])

    with torch.random.fork_rng():
        torch.manual_seed(7)
        mine = result(*net._map_and_embeddings(clips, keys))
        torch.manual_seed(7)
        similarity, _ = reference.clip(
            reference.part(state, "KSVQE_backbone.CLIP_tool"), config, keys.flatten(0, 1)
        )
        weights = direct_top1(reference.region_scores(config, similarity), config.sigma, config.num_samples)
        theirs = result(*reference.quality_map(state, config, clips, keys, weights))
    assert not torch.equal(weights, weights.round()), "candidates are mixed"
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_gradients_reach_what_is_learnt_and_nothing_else() -> None:
    net = network().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        scores, embeddings = net.forward_with_distortion(*inputs(SMALL, 3, 8))
    patterns = torch.tensor([0, 1, 0])
    each = embeddings.flatten(1, 2)
    loss = contrastive_distortion_loss(each.flatten(0, 1), patterns.repeat_interleave(each.shape[1]))
    (scores.square().sum() + SMALL.distortion_weight * loss).backward()
    frozen = ("KSVQE_backbone.CLIP_tool.visual.", "KSVQE_backbone.distortion_tool.")
    for name, p in net.named_parameters():
        assert p.requires_grad is not name.startswith(frozen), name
        assert (p.grad is not None and bool(p.grad.any())) is p.requires_grad, name
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    loose = network(replace(SMALL, fixed_statistics=False)).train()
    loose(*inputs(SMALL, 2, 8))
    moved = {k for k, v in loose.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k in before if k.endswith(("running_mean", "running_var", "num_batches_tracked"))}


@pytest.mark.parametrize("frames", [8, 9, 10, 14, 32, 96])
def test_key_frames_and_their_groups(frames: int) -> None:
    keys, groups = key_frames(frames), list(key_groups(frames))
    assert keys == (0, frames // 4 - 1, frames // 2 - 1, 3 * frames // 4 - 1)
    assert groups == reference.groups(frames)
    for step in (1, 2):
        spans = key_spans(frames, step)
        assert [g for g, (a, b) in enumerate(spans) for _ in range(a, b)] == groups[::step]
        assert all(a < b for a, b in spans)


def test_selection_of_the_release_size() -> None:
    """14 x 14 patches, 9 x 9 fragments, 7 x 7 of them: as unfolding and the largest of the means."""
    sampling = Sampling(frames=8, interval=4, clips=3, grid=9, aligned=8, patch=2)
    config = KsvqeConfig(sampling=sampling, clip=ClipConfig(side=28, patch=2), frames_side=28)
    chooser = RegionSelection(config).double().eval()
    clips, similarity = noise(1, (2, 3, 12, 18, 18)).double(), noise(2, (2, 4, 196)).double()
    scores = reference.region_scores(config, similarity.flatten(0, 1))
    got = chooser.scores(similarity.flatten(0, 1))
    span = got.amax(1, keepdim=True) - got.amin(1, keepdim=True) + 1e-5
    torch.testing.assert_close((got - got.amin(1, keepdim=True)) / span, scores, rtol=1e-12, atol=1e-12)
    assert len(set(scores.argmax(1).tolist())) > 3
    assert torch.equal(chooser(clips, similarity), reference.selected(config, clips, scores, None))


def test_perturbed_top1_equals_its_expression_and_the_normal_distribution() -> None:
    scores = noise(3, (5, 9)).double().requires_grad_()
    slopes = noise(4, (5, 9)).double()
    results = []
    for made in (perturbed_top1, direct_top1):
        with torch.random.fork_rng():
            torch.manual_seed(2)
            y = made(scores, 0.5, 500)
        results.append((y, *torch.autograd.grad((y * slopes).sum(), [scores])))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[0][0].sum(1), torch.ones(5).double())
    # Of two scores a apart, the larger is the largest with probability Phi(a / (sigma sqrt 2)).
    pair = torch.tensor([[0.3, 0.0]], dtype=torch.float64, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        share = perturbed_top1(pair, 0.5, 200_000)[0, 0]
    at = 0.3 / 0.5 / 2
    assert abs(float(share.detach()) - 0.5 * (1 + math.erf(at))) < 5e-3
    (slope,) = torch.autograd.grad(share, [pair])
    assert abs(float(slope[0, 0]) - math.exp(-(at**2)) / (0.5 * 2 * math.sqrt(math.pi))) < 2e-2


@pytest.mark.parametrize("name", list(CASES)[:3])
def test_exported_graphs_equal_the_network(name: str) -> None:
    """`export_graph` compares with OpenVINO on both examples, and raises above `TOLERANCE`."""
    config, frames = CASES[name]
    net = network(config)
    examples = [inputs(config, 1, frames, seed) for seed in (1, 3)]
    data, error = export_graph(
        "network", net, examples, inputs=["fragments", "frames"], outputs=["q"], dynamic={}, fold=False
    )
    assert error <= TOLERANCE
    assert {n.op_type for n in onnx.load_from_string(data).graph.node} <= {*OPERATORS, "Constant"}
    if config.region < config.sampling.grid:
        clip, select = net.KSVQE_backbone.CLIP_tool, net.KSVQE_backbone.spa_patchnet
        with torch.no_grad():
            chosen = [select.scores(clip(keys[0])[0]).argmax(1).tolist() for _, keys in examples]
        assert chosen[0] != chosen[1], "the graph chooses"


def test_training_is_repeatable_by_seed() -> None:
    config = replace(SMALL, swin=replace(SMALL.swin, drop_path=0.5), head=HeadConfig(32, 6, 0.5))
    clips, keys = inputs(config, 2, 8)

    def after_a_step(seed: int) -> Any:
        net = network(config).train()
        step = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
        torch.manual_seed(seed)
        net(clips, keys).sum().backward()
        step.step()
        return net.state_dict()

    with torch.random.fork_rng():
        first, again, other = (after_a_step(s) for s in (1, 1, 2))
    assert all(torch.equal(v, again[k]) for k, v in first.items())
    assert any(not torch.equal(v, other[k]) for k, v in first.items())


def test_what_is_refused() -> None:
    net = network()
    clips, keys = inputs(SMALL, 1, 8)
    for wrong in (clips[:, :, :7], clips[:, :, :6], clips[..., 1:], clips[0]):
        with pytest.raises(InvalidArgument, match=r"fragments must be \(B, 3, T, 32, 32\) with T even"):
            net(wrong, keys)
    with pytest.raises(InvalidArgument, match=r"frames must be \(1, 4, 3, 20, 20\), got \(1, 3, 3, 20, 20\)"):
        net(clips, keys[:, :3])
    with pytest.raises(InvalidArgument, match="key_frames: frames must be >= 8, got 7"):
        key_frames(7)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"head": HeadConfig(31)}, "the head must take Swin's 32 channels, got 31"),
        ({"tuning_stage": 3}, "tuning_stage must be one of at least two stages, got 3 of 3"),
        ({"sampling": replace(SMALL.sampling, frames=9)}, "frames must be even and >= 8, got 9"),
        ({"region": 5}, "1 <= region <= grid"),
        ({"adapter_start": 4}, "adapter_start must be in 0..3, got 4"),
        ({"swin": replace(SMALL.swin, patch=(1, 4, 4))}, "tokens of two frames"),
        ({"adapter_share": 1.5}, r"shares must be in \[0, 1\]"),
        ({"sigma": 0.0}, "sigma > 0"),
        ({"reduction": 9}, "leave the adapters a channel"),
    ]
    for change, message in changes:
        with pytest.raises(InvalidArgument, match=message):
            replace(SMALL, **change)
    with pytest.raises(InvalidArgument, match="four stages"):
        ContriqueConfig(blocks=(1, 0, 1, 1))
