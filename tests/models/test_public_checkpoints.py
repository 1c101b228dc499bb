"""Public checkpoints, by the names and shapes that their publishers give them, load strictly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from vqafast.errors import MissingFile, ModelError  # noqa: E402
from vqafast.models.backbones.official import LAYOUTS  # noqa: E402
from vqafast.models.backbones.table import construct  # noqa: E402
from vqafast.models.backbones.weights import load_backbone  # noqa: E402


def resnet(blocks: tuple[int, ...], bottleneck: bool, classes: int | None) -> dict[str, tuple[int, ...]]:
    def norm(at: str, n: int) -> None:
        out.update({f"{at}.{k}": (n,) for k in ("weight", "bias", "running_mean", "running_var")})
        out[f"{at}.num_batches_tracked"] = ()

    out: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}
    norm("bn1", 64)
    inputs = 64
    for i, count in enumerate(blocks):
        planes, width = 64 << i, (64 << i) * (4 if bottleneck else 1)
        for j in range(count):
            at = f"layer{i + 1}.{j}"
            shapes = [(planes, inputs, 3, 3), (planes, planes, 3, 3)]
            if bottleneck:
                shapes = [(planes, inputs, 1, 1), (planes, planes, 3, 3), (width, planes, 1, 1)]
            for k, shape in enumerate(shapes, 1):
                out[f"{at}.conv{k}.weight"] = shape
                norm(f"{at}.bn{k}", shape[0])
            if j == 0 and (i > 0 or bottleneck):
                out[f"{at}.downsample.0.weight"] = (width, inputs, 1, 1)
                norm(f"{at}.downsample.1", width)
            inputs = width
    if classes is not None:
        out |= {"fc.weight": (classes, inputs), "fc.bias": (classes,)}
    return out


def vit_torchvision(legacy: bool) -> dict[str, tuple[int, ...]]:
    fc1, fc2 = ("mlp.linear_1", "mlp.linear_2") if legacy else ("mlp.0", "mlp.3")
    out: dict[str, tuple[int, ...]] = {
        "class_token": (1, 1, 768), "conv_proj.weight": (768, 3, 16, 16), "conv_proj.bias": (768,),
        "encoder.pos_embedding": (1, 197, 768), "encoder.ln.weight": (768,), "encoder.ln.bias": (768,),
        "heads.head.weight": (1000, 768), "heads.head.bias": (1000,),
    }  # fmt: skip
    for i in range(12):
        at = f"encoder.layers.encoder_layer_{i}"
        for name, shape in (
            ("ln_1.weight", (768,)), ("ln_1.bias", (768,)), ("ln_2.weight", (768,)), ("ln_2.bias", (768,)),
            ("self_attention.in_proj_weight", (2304, 768)), ("self_attention.in_proj_bias", (2304,)),
            ("self_attention.out_proj.weight", (768, 768)), ("self_attention.out_proj.bias", (768,)),
            (f"{fc1}.weight", (3072, 768)), (f"{fc1}.bias", (3072,)),
            (f"{fc2}.weight", (768, 3072)), (f"{fc2}.bias", (768,)),
        ):  # fmt: skip
            out[f"{at}.{name}"] = shape
    return out


def vit_timm(patch: int) -> dict[str, tuple[int, ...]]:
    tokens = (224 // patch) ** 2 + 1
    out: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, 768), "pos_embed": (1, tokens, 768), "patch_embed.proj.bias": (768,),
        "patch_embed.proj.weight": (768, 3, patch, patch), "norm.weight": (768,), "norm.bias": (768,),
        "head.weight": (1000, 768), "head.bias": (1000,),
    }  # fmt: skip
    for i in range(12):
        for name, shape in (
            ("norm1.weight", (768,)), ("norm1.bias", (768,)),
            ("norm2.weight", (768,)), ("norm2.bias", (768,)),
            ("attn.qkv.weight", (2304, 768)), ("attn.qkv.bias", (2304,)),
            ("attn.proj.weight", (768, 768)), ("attn.proj.bias", (768,)),
            ("mlp.fc1.weight", (3072, 768)), ("mlp.fc1.bias", (3072,)),
            ("mlp.fc2.weight", (768, 3072)), ("mlp.fc2.bias", (768,)),
        ):  # fmt: skip
            out[f"blocks.{i}.{name}"] = shape
    return out


def prefixed(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {prefix + k: v for k, v in shapes.items()}


UNIQUE_HEAD = {"fc.weight": (2, 512 * 512), "fc.bias": (2,)}
MANIQA_REST = {
    f"{k}.weight": (1,)
    for k in ("tablock1.0.c_q", "conv1", "swintransformer1.layers.0", "tablock2.0.c_q", "conv2",
              "swintransformer2.layers.0", "fc_score.0", "fc_weight.0")
}  # fmt: skip
SLOWFAST_REST = {
    "blocks.0.multipathway_blocks.0.conv.weight": (64, 3, 1, 7, 7),
    "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
    "blocks.6.proj.weight": (400, 2304),
    "blocks.6.proj.bias": (400,),
}
RESNET50 = resnet((3, 4, 6, 3), True, 1000)
RESNET34 = resnet((3, 4, 6, 3), False, 1000)
PUBLIC: dict[str, tuple[str, dict[str, tuple[int, ...]], str, str]] = {
    # backbone, checkpoint, one of its names, where that must arrive
    "resnet50": ("resnet50", RESNET50, "layer4.2.conv3.weight", "layer4.2.conv3.weight"),
    "resnet50_last": ("resnet50_last", RESNET50, "conv1.weight", "conv1.weight"),
    "resnet34": ("resnet34_iqa", RESNET34, "layer2.0.downsample.0.weight", "layer2.0.downsample.0.weight"),
    "unique": (
        "resnet34_iqa", prefixed("module.", prefixed("backbone.", RESNET34) | UNIQUE_HEAD),
        "module.backbone.layer3.5.conv2.weight", "layer3.5.conv2.weight",
    ),
    "unique-unwrapped": (
        "resnet34_iqa", prefixed("backbone.", RESNET34) | UNIQUE_HEAD,
        "backbone.layer3.5.conv2.weight", "layer3.5.conv2.weight",
    ),
    "vit": (
        "vit_b16", vit_torchvision(False),
        "encoder.layers.encoder_layer_11.mlp.3.weight", "blocks.11.mlp.fc2.weight",
    ),
    "vit-legacy": (
        "vit_b16", vit_torchvision(True),
        "encoder.layers.encoder_layer_3.mlp.linear_1.bias", "blocks.3.mlp.fc1.bias",
    ),
    "maniqa": (
        "vit_b8_iqa", prefixed("vit.", vit_timm(8)) | MANIQA_REST,
        "vit.blocks.6.attn.qkv.weight", "blocks.6.attn.qkv.weight",
    ),
    "vit-timm": ("vit_b16", vit_timm(16), "pos_embed", "pos_embed"),
}  # fmt: skip
COUNTS = {"resnet50": 25_557_032, "resnet34": 21_797_672, "vit": 86_567_656, "vit-timm": 86_567_656}


def checkpoint(shapes: dict[str, tuple[int, ...]], marked: str) -> dict[str, Any]:
    """Zeros that take no room, but for one tensor with a pattern."""
    state = {k: torch.zeros(()).expand(s) for k, s in shapes.items()}
    count = int(torch.tensor(shapes[marked]).prod())
    state[marked] = torch.linspace(-1, 1, count).reshape(shapes[marked])
    return state


@pytest.mark.parametrize("name", PUBLIC)
def test_public_checkpoints_load_strictly(tmp_path: Path, name: str) -> None:
    backbone, shapes, marked, arrives = PUBLIC[name]
    state = checkpoint(shapes, marked)
    if name in COUNTS:
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        assert sum(t.numel() for k, t in state.items() if not k.endswith(buffers)) == COUNTS[name]
    torch.save(state, tmp_path / "net.pth")
    net = construct(backbone)
    load_backbone(net, backbone, tmp_path / "net.pth")
    assert torch.equal(net.state_dict()[arrives], state[marked])
    short = {k: v for k, v in state.items() if k != marked}
    torch.save(short, tmp_path / "short.pth")
    with pytest.raises(ModelError, match=r"missing \[|must be for"):
        load_backbone(net, backbone, tmp_path / "short.pth")
    torch.save({**state, "surplus.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match=r"unexpected \[surplus.weight\]"):
        load_backbone(net, backbone, tmp_path / "more.pth")


@pytest.mark.parametrize("backbone", ["slowfast_fast", "swin3d_t"])
def test_motion_checkpoints_load_strictly(tmp_path: Path, backbone: str) -> None:
    source, net = construct(backbone), construct(backbone)
    head: dict[str, tuple[int, ...]] = {"head.weight": (400, 768), "head.bias": (400,)}
    rest = SLOWFAST_REST if backbone == "slowfast_fast" else head
    state = {**source.state_dict(), **{k: torch.zeros(()).expand(s) for k, s in rest.items()}}
    torch.save({"model_state": state} if backbone == "slowfast_fast" else state, tmp_path / "net.pyth")
    load_backbone(net, backbone, tmp_path / "net.pyth")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), source.parameters(), strict=True))
    if backbone == "swin3d_t":
        learnt = sum(p.numel() for p in source.parameters()) + 768 * 400 + 400
        assert learnt == 28_158_070


def test_own_checkpoints_load(tmp_path: Path) -> None:
    """What is saved from a backbone loads again: every table has a layout for it."""
    for backbone in LAYOUTS:
        net = construct(backbone)
        torch.save(net.state_dict(), tmp_path / "own.pth")
        load_backbone(net, backbone, tmp_path / "own.pth")


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(
        ModelError, match=r"must be for vit_b16 and hold one of .*got names such as \['a.weight'"
    ):
        load_backbone(construct("vit_b16"), "vit_b16", tmp_path / "a.pth")
    with pytest.raises(MissingFile, match="checkpoint must be a file"):
        load_backbone(construct("vit_b16"), "vit_b16", tmp_path / "b.pth")


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("attacked"),))


def test_no_code_in_a_checkpoint_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": _Attack()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"conv1.weight": _Attack()}))
    for name in ("zip.pth", "plain.pkl"):
        with pytest.raises(ModelError, match="cannot be read"):
            load_backbone(construct("resnet50"), "resnet50", tmp_path / name)
    assert not (tmp_path / "attacked").exists()
