"""KVQ's network: its maps, its graph, its gradients, and the paper's sizes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small_kvq import SIZES, SMALL, SWIN, clip, network  # noqa: E402

from vqafast.engines import create_engine  # noqa: E402
from vqafast.errors import InvalidArgument  # noqa: E402
from vqafast.models.fast_vqa.config import HeadConfig  # noqa: E402
from vqafast.models.fast_vqa.swin3d import SwinTransformer3D  # noqa: E402
from vqafast.models.kvq.config import KvqConfig, KvqTraining  # noqa: E402
from vqafast.models.kvq.loss import local_perception_loss, local_quality  # noqa: E402
from vqafast.models.kvq.network import KVQ  # noqa: E402
from vqafast.models.onnx_export import TOLERANCE, export_graph, noise  # noqa: E402


@pytest.mark.parametrize("size", SIZES)
def test_saliency_is_a_distribution_and_the_score_its_mean_quality(size: tuple[int, int, int]) -> None:
    net, (t, h, w) = network(), size
    clips = clip(2, size, 2)
    with torch.no_grad():
        maps = net.maps(clips)
        assert maps.quality.shape == maps.saliency.shape == (2, -(-t // 2), -(-h // 32), -(-w // 32))
        assert (maps.saliency > 0).all()
        torch.testing.assert_close(maps.saliency.sum((1, 2, 3)), torch.ones(2).double())
        torch.testing.assert_close(net(clips), maps.score)
        for b in range(2):
            pairs = zip(maps.saliency[b].flatten().tolist(), maps.quality[b].flatten().tolist(), strict=True)
            assert sum(s * q for s, q in pairs) == pytest.approx(float(maps.score[b]), rel=1e-12)


def test_block_maps_are_averaged_over_the_tokens_that_merge() -> None:
    """The whole ensemble again from the modules, with averages token by token on odd sides."""
    net = network()
    clips = clip(3, (4, 80, 112))
    found: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: found.append(out))
        for layer in net.backbone.layers[2:]
        for module in layer.saliency
    ]
    with torch.no_grad():
        maps = net.maps(clips)
        features, _ = net.backbone(clips)
        logits = [net.saliency_head(features)[0]]
        for hook in hooks:
            hook.remove()
        assert [tuple(m.shape[1:]) for m in found[:4]] == [(2, 5, 7), (2, 5, 7), (2, 3, 4), (2, 3, 4)]
        for m in found[:4]:
            side = 2 if m.shape[2] == 5 else 1
            cell = torch.empty(2, 3, 4).double()
            for t, i, j in itertools.product(range(2), range(3), range(4)):
                cell[t, i, j] = m[0, t, i * side : (i + 1) * side, j * side : (j + 1) * side].mean()
            logits.append(cell)
        e = torch.exp(sum(logits) / 5)
    torch.testing.assert_close(maps.saliency[0], e / e.sum(), rtol=1e-10, atol=1e-12)


def test_without_multiple_scales_saliency_is_the_heads() -> None:
    net = network(replace(SMALL, multi_scale=False))
    clips = clip(3, (4, 96, 96))
    with torch.no_grad():
        features, logits = net.backbone(clips)
        truth = torch.softmax(net.saliency_head(features).flatten(), 0)
        assert logits == []
        torch.testing.assert_close(net.maps(clips).saliency.flatten(), truth)


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_a_batch_do_not_influence_each_other(size: tuple[int, int, int]) -> None:
    net, clips = network(), clip(5, size, 3)
    with torch.no_grad():
        together = net.maps(clips)
        for b in range(3):
            alone = net.maps(clips[b : b + 1])
            for mine, whole in zip(alone, together, strict=True):
                torch.testing.assert_close(mine[0], whole[b], rtol=1e-10, atol=1e-10)


class AllMaps(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Any) -> Any:
        return tuple(self.net.maps(clips))


@pytest.mark.parametrize("size", SIZES[1:3])
@pytest.mark.parametrize("attention", ["fused", "cross"])
def test_exported_graphs_equal_the_network(size: tuple[int, int, int], attention: Any) -> None:
    """`export_graph` compares with OpenVINO on both examples; torch's own engine has the operators too."""
    net = network(replace(SMALL, attention=attention)).float()
    examples = [(noise(seed, (1, 3, *size)),) for seed in (1, 2)]
    names = ["score", "quality", "saliency"]
    data, error = export_graph("kvq", AllMaps(net), examples, inputs=["clips"], outputs=names, dynamic={})
    assert error <= TOLERANCE
    with torch.no_grad():
        truth = net.maps(examples[1][0])
    got = create_engine("torch", data).run({"clips": examples[1][0].numpy()})
    for name, value in zip(names, truth, strict=True):
        torch.testing.assert_close(torch.from_numpy(got[name]), value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["fused", "inner", "cross"])
def test_every_parameter_learns(attention: Any) -> None:
    net = network(replace(SMALL, attention=attention))
    clips = clip(7, (4, 96, 96), 2).requires_grad_()
    maps = net.maps(clips)
    loss = (maps.score * torch.tensor([1.0, -2.0])).sum() + local_perception_loss(net, clips, maps)
    loss.backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unused == []
    assert clips.grad is not None
    assert clips.grad.abs().sum() > 0


def test_gradient_of_the_score_by_differences() -> None:
    net = network()
    clips = clip(8, (2, 64, 96))
    names = [n for n, _ in net.named_parameters() if "layers.2" in n and ("cross" in n or "saliency" in n)]
    some = names[:2] + names[-1:]
    assert len(names) == 16
    state = dict(net.named_parameters())
    for name in some:
        p = state[name]
        (slope,) = torch.autograd.grad(net(clips).sum(), [p])
        direction = noise(1, tuple(p.shape)).double()
        with torch.no_grad():
            p += 1e-6 * direction
            high = float(net(clips).sum())
            p -= 2e-6 * direction
            low = float(net(clips).sum())
            p += 1e-6 * direction
        assert float((slope * direction).sum()) == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-8)


def test_training_is_repeatable_and_recomputing_changes_nothing_but_memory() -> None:
    def step(seed: int, **options: Any) -> list[Any]:
        swin = replace(SWIN, drop_path=0.3, **options)
        net = network(replace(SMALL, swin=swin)).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
        torch.manual_seed(seed)
        clips = clip(9, (2, 64, 64), 4)
        maps = net.maps(clips)
        (maps.score.square().mean() + local_perception_loss(net, clips, maps)).backward()
        optimiser.step()
        return [p.detach() for p in net.parameters()]

    with torch.random.fork_rng():
        first, again, other, saving = step(1), step(1), step(2), step(1, recompute=True)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    torch.testing.assert_close(first, saving, rtol=1e-9, atol=1e-9)


def test_names_and_parameters_at_full_size() -> None:
    """Video Swin-T has 27,850,470 (torchvision's less its classifier). Added are a projection to q, k, v and
    one back for each of 6 blocks of width 384 and 2 of 768, a norm and an FC for each of the 8 maps, and
    two heads."""
    config = KvqConfig()
    with torch.device("meta"):
        net, swin = KVQ(config), SwinTransformer3D(config.swin)
    mine = {k: v.shape for k, v in net.backbone.state_dict().items()}
    assert {k: v.shape for k, v in swin.state_dict().items()}.items() <= mine.items()
    cross = sum(n * (c * 3 * c + 3 * c + c * c + c) for n, c in ((6, 384), (2, 768)))
    maps = sum(n * (2 * c + c + 1) for n, c in ((6, 384), (2, 768)))
    heads = 2 * (768 * 64 + 64 + 64 + 1)
    total = sum(p.numel() for p in net.parameters())
    assert total == 27_850_470 + cross + maps + heads == 36_233_456


def test_the_papers_numbers() -> None:
    """002, section 1.2 and tables 7 and 8."""
    config, training = KvqConfig(), KvqTraining()
    assert (config.correlated, config.side, config.attention, config.multi_scale) == (
        (8, 4),
        448,
        "fused",
        True,
    )
    assert config.swin.window == (8, 7, 7)
    assert (config.plain, config.stride) == (2, (2, 32, 32))
    assert (training.rank_weight, training.perception_weight) == (0.5, 0.05)
    assert (training.epochs, training.learning_rate, training.weight_decay) == (30, 5e-4, 5e-2)


def test_what_is_refused() -> None:
    net = network()
    with pytest.raises(InvalidArgument, match=r"clips must be \(B, 3, T, H, W\), got \(3, 8, 8\)"):
        net.maps(torch.zeros(3, 8, 8))
    with pytest.raises(InvalidArgument, match=r"in multiples of \(2, 32, 32\), got \(1, 3, 4, 64, 80\)"):
        local_quality(net, torch.zeros(1, 3, 4, 64, 80))
    with pytest.raises(InvalidArgument, match=r"multiple of \(2, 32, 32\) pixels, got \(2, 28, 28\)"):
        local_quality(net, torch.zeros(1, 3, 2, 56, 56), (2, 28, 28))
    clips = clip(1, (2, 32, 64))
    with pytest.raises(InvalidArgument, match=r"maps must be \(1, 1, 1, 2\), got \(1, 1, 1, 1\)"):
        local_perception_loss(net, clips, net.maps(clips[..., :32]))
    for change, message in (
        ({"cube": (2, 28, 28)}, "cube must be a multiple"),
        ({"correlated": (0, 2)}, "correlated must be >= 1"),
        ({"correlated": (1, 1, 1, 1)}, "correlated must be >= 1"),
        ({"head": HeadConfig(60, 8)}, "head.channels must be the last stage's width 64"),
        ({"attention": "outer"}, "attention must be fused, inner or cross"),
        ({"swin": replace(SWIN, fragment_bias=(True, False, False, False))}, "no fragment bias"),
        ({"side": 0}, "must be >= 1"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            replace(SMALL, **change)  # type: ignore[arg-type]
