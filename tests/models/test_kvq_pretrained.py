"""Video Swin's weights in KVQ: under both names, from the start, and whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small_kvq import SIZES, SMALL, SWIN, clip, randomised  # noqa: E402

from vqafast.errors import ModelError  # noqa: E402
from vqafast.models.backbones.swin3d import SwinVideo  # noqa: E402
from vqafast.models.fast_vqa import reference  # noqa: E402
from vqafast.models.fast_vqa.swin3d import SwinTransformer3D  # noqa: E402
from vqafast.models.kvq.network import KVQ  # noqa: E402
from vqafast.models.kvq.pretrained import load_kinetics  # noqa: E402


def video_swin(seed: int = 1) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {
            k: v.double() if v.is_floating_point() else v
            for k, v in randomised(SwinTransformer3D(SWIN)).state_dict().items()
        }


@pytest.mark.parametrize("size", SIZES)
def test_with_kinetics_weights_it_starts_as_video_swin(size: tuple[int, int, int]) -> None:
    """CWA adds nothing at first: features are those of the slow definition of Video Swin."""
    state = video_swin()
    released = {f"backbone.{k}": v for k, v in state.items()}
    released |= {"cls_head.fc_cls.weight": torch.zeros(2, 64), "cls_head.fc_cls.bias": torch.zeros(2)}
    clips = clip(14, size, 2)
    for attention in ("fused", "inner"):
        with torch.random.fork_rng():
            net = KVQ(replace(SMALL, attention=attention)).eval().double()
        kept = load_kinetics(net, {"state_dict": released})
        assert all(torch.equal(v, state[k]) for k, v in net.backbone.state_dict().items() if k in state)
        shared = {f"backbone.{k}" for k in state}
        assert set(kept) == {n for n, _ in net.named_parameters()} - shared
        assert all(".cross." in n or ".saliency." in n or "_head." in n for n in kept)
        with torch.no_grad():
            features, _ = net.backbone(clips)
            truth = reference.features(state, SWIN, clips).permute(0, 2, 3, 4, 1)
        torch.testing.assert_close(features, truth, rtol=1e-9, atol=1e-9)


def test_torchvisions_names_are_the_same_weights() -> None:
    """`SwinVideo` has torchvision's names and its own computation; windows there are always (8, 7, 7)."""
    swin = replace(SWIN, window=(8, 7, 7))
    with torch.random.fork_rng():
        theirs = randomised(SwinVideo(width=8, depths=SWIN.depths, heads=SWIN.heads, classes=5)).double()
        net = KVQ(replace(SMALL, swin=swin)).eval().double()
    kept = load_kinetics(net, theirs.state_dict())
    assert not any("attn" in n or "mlp" in n or "downsample" in n for n in kept)
    clips = clip(15, (4, 64, 64))
    with torch.no_grad():
        features, _ = net.backbone(clips)
        truth = theirs(clips[0].transpose(0, 1))[0][::2]
    torch.testing.assert_close(features[0].permute(0, 3, 1, 2), truth, rtol=1e-9, atol=1e-9)


def test_kinetics_weights_that_do_not_fit_are_refused_whole() -> None:
    with torch.random.fork_rng():
        net = KVQ(SMALL).double()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = video_swin()
    broken = {**state, "layers.9.x": torch.zeros(1)}
    del broken["norm.bias"]
    with pytest.raises(ModelError, match=r"missing \[norm.bias\], unexpected \[layers.9.x\]"):
        load_kinetics(net, broken)
    with pytest.raises(ModelError, match=r"wrong shape \[norm.weight \(3,\) != \(64,\)\]"):
        load_kinetics(net, {**state, "norm.weight": torch.zeros(3)})
    index = "layers.3.blocks.1.attn.relative_position_index"
    with pytest.raises(ModelError, match="must be the index of window"):
        load_kinetics(net, {**state, index: state[index] + 1})
    with pytest.raises(ModelError, match=r"names to tensors, got others at \[epoch\]"):
        load_kinetics(net, {**state, "epoch": 30})
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_alone_cross_window_attention_leaves_swins_attention_out() -> None:
    with torch.random.fork_rng():
        net = KVQ(replace(SMALL, attention="cross")).double()
    state = video_swin()
    kept = load_kinetics(net, state)
    left = {k for k in state if k not in net.backbone.state_dict()}
    assert left == {k for k in state if k.startswith(("layers.2", "layers.3")) and ".attn." in k}
    assert all(".cross." in n or ".saliency." in n or "_head." in n for n in kept)
