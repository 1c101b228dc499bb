"""Backbones: published sizes, names, strides, strict loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from vqafast.errors import MissingFile, ModelError  # noqa: E402
from vqafast.models.backbones.loader import load_checkpoint_strict  # noqa: E402
from vqafast.models.backbones.resnet import resnet34_iqa, resnet50  # noqa: E402
from vqafast.models.backbones.slowfast import SlowFastFast  # noqa: E402
from vqafast.models.backbones.weights import load_backbone  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        assert count(resnet50(classes=1000)) == 25_557_032
        assert count(resnet34_iqa(classes=1000)) == 21_797_672
        assert count(SlowFastFast()) == 514_152
        assert 2 * sum(resnet50().channels) == 7680
        assert 2 * sum(resnet34_iqa().channels) == 1920
        assert 2 * sum(SlowFastFast().channels) == 512


def test_torchvision_names() -> None:
    names = set(resnet50(width=8, classes=10).state_dict())
    assert {
        "conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "layer4.2.conv3.weight",
        "layer3.5.bn2.num_batches_tracked", "fc.bias",
    } <= names  # fmt: skip
    assert "layer1.0.downsample.0.weight" not in resnet34_iqa(width=8).state_dict()


def test_pytorchvideo_names() -> None:
    names = set(SlowFastFast(width=2).state_dict())
    assert {
        "blocks.0.multipathway_blocks.1.conv.weight",
        "blocks.1.multipathway_blocks.1.res_blocks.0.branch1_conv.weight",
        "blocks.1.multipathway_blocks.1.res_blocks.0.branch1_norm.running_mean",
        "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.norm_c.weight",
    } <= names


def test_strides() -> None:
    net = resnet34_iqa(width=8).eval()
    with torch.no_grad():
        shapes = [tuple(m.shape) for m in net(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, 8, 16, 24), (1, 16, 8, 12), (1, 32, 4, 6), (1, 64, 2, 3)]


def test_slowfast_keeps_every_frame_and_looks_at_neighbours() -> None:
    torch.manual_seed(0)
    net = SlowFastFast(width=2).eval()
    x = torch.randn(6, 3, 64, 64)
    with torch.no_grad():
        (a,), (b,) = net(x), net(torch.cat([x[:5], x[5:] + 1]))
    assert a.shape == (6, 64, 2, 2)
    assert not torch.equal(a[4], b[4])


@pytest.mark.parametrize("kind", ["pt", "wrapped", "safetensors"])
def test_strict_loading(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    source, target = resnet34_iqa(width=4, classes=7), resnet34_iqa(width=4)
    state = {f"backbone.{k}": v for k, v in source.state_dict().items()}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "wrapped" else state, path)
    with pytest.raises(ModelError, match=r"unexpected \[fc\.\w+, fc\.\w+\]"):
        load_checkpoint_strict(target, path, prefix="backbone.")
    with pytest.raises(ModelError, match=r"missing \[conv1.weight, bn1.weight"):
        load_checkpoint_strict(target, path)
    with pytest.raises(ModelError, match=r"'head.\*' must match a key"):
        load_checkpoint_strict(target, path, prefix="backbone.", ignore=("fc.*", "head.*"))
    load_checkpoint_strict(target, path, prefix="backbone.", ignore=("fc.*",))
    assert torch.equal(target.layer4[2].conv2.weight, source.layer4[2].conv2.weight)
    with pytest.raises(ModelError, match=r"wrong shape \[conv1.weight \(4, 3, 7, 7\) != \(8"):
        load_checkpoint_strict(resnet34_iqa(width=8), path, prefix="backbone.", ignore=("fc.*",))


def test_slowfast_checkpoint_with_both_pathways(tmp_path: Path) -> None:
    net = SlowFastFast(width=2)
    other = {
        "blocks.0.multipathway_blocks.0.conv.weight": torch.zeros(1),
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": torch.zeros(1),
        "blocks.6.proj.weight": torch.zeros(1),
    }
    torch.save({"model_state": {**net.state_dict(), **other}}, tmp_path / "s.pyth")
    target = SlowFastFast(width=2)
    load_backbone(target, "slowfast_fast", tmp_path / "s.pyth")
    name = "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.conv_c.weight"
    assert torch.equal(target.state_dict()[name], net.state_dict()[name])


def test_bad_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        load_checkpoint_strict(resnet34_iqa(width=4), tmp_path / "none.pth")
    (tmp_path / "x.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint_strict(resnet34_iqa(width=4), tmp_path / "x.pth")
    torch.save([1, 2], tmp_path / "l.pth")
    with pytest.raises(ModelError, match="must hold a mapping"):
        load_checkpoint_strict(resnet34_iqa(width=4), tmp_path / "l.pth")
