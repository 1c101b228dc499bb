"""KSVQE's names and shapes, spelt out from its authors' modules, and their checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.test_ksvqe_network import SMALL, network  # noqa: E402

from vqafast.errors import MissingFile, ModelError  # noqa: E402
from vqafast.models.ksvqe.config import KsvqeConfig  # noqa: E402
from vqafast.models.ksvqe.loading import load_checkpoint  # noqa: E402
from vqafast.models.ksvqe.network import KSVQE  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


def names_of(stages: list[int], adapters: int) -> dict[str, tuple[int, ...]]:
    """Every name and shape of the release's network, spelt out from its modules.

    `stages` are the widths after the modulated stages.
    """
    found: dict[str, tuple[int, ...]] = {}

    def norm(at: str, width: int, *, batch: bool = False) -> None:
        found[f"{at}.weight"] = found[f"{at}.bias"] = (width,)
        if batch:
            found[f"{at}.running_mean"] = found[f"{at}.running_var"] = (width,)
            found[f"{at}.num_batches_tracked"] = ()

    def layer(at: str, *shape: int, bias: bool = True) -> None:
        found[f"{at}.weight"] = shape
        if bias:
            found[f"{at}.bias"] = shape[:1]

    def two(at: str, inside: int, out: int) -> None:
        layer(f"{at}.0", inside // 4, inside)
        layer(f"{at}.2", out, inside // 4)

    b = "KSVQE_backbone"
    layer(f"{b}.patch_embed.proj", 96, 3, 2, 4, 4)
    norm(f"{b}.patch_embed.norm", 96)
    for i, (depth, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        c = 96 * 2**i
        for j in range(depth):
            at = f"{b}.layers.{i}.blocks.{j}"
            norm(f"{at}.norm1", c)
            found[f"{at}.attn.relative_position_bias_table"] = (15 * 13 * 13, heads)
            if i < 3:
                found[f"{at}.attn.fragment_position_bias_table"] = (15 * 13 * 13, heads)
            found[f"{at}.attn.relative_position_index"] = (392, 392)
            layer(f"{at}.attn.qkv", 3 * c, c)
            layer(f"{at}.attn.proj", c, c)
            norm(f"{at}.norm2", c)
            layer(f"{at}.mlp.fc1", 4 * c, c)
            layer(f"{at}.mlp.fc2", c, 4 * c)
        if i < 3:
            layer(f"{b}.layers.{i}.downsample.reduction", 2 * c, 4 * c, bias=False)
            norm(f"{b}.layers.{i}.downsample.norm", 4 * c)
    norm(f"{b}.norm", 768)
    v = f"{b}.CLIP_tool.visual"
    found[f"{v}.class_embedding"], found[f"{v}.positional_embedding"] = (768,), (197, 768)
    found[f"{v}.proj"], found[f"{v}.conv1.weight"] = (768, 512), (768, 3, 16, 16)
    norm(f"{v}.ln_pre", 768)
    norm(f"{v}.ln_post", 768)
    for i in range(12):
        at = f"{v}.transformer.resblocks.{i}"
        norm(f"{at}.ln_1", 768)
        norm(f"{at}.ln_2", 768)
        found[f"{at}.attn.in_proj_weight"], found[f"{at}.attn.in_proj_bias"] = (2304, 768), (2304,)
        layer(f"{at}.attn.out_proj", 768, 768)
        layer(f"{at}.mlp.c_fc", 3072, 768)
        layer(f"{at}.mlp.c_proj", 768, 3072)
    for i in range(adapters):
        two(f"{b}.CLIP_tool.adapter_layer.{i}", 768, 768)
    d = f"{b}.distortion_tool"
    layer(f"{d}.encoder.0", 64, 3, 7, 7, bias=False)
    norm(f"{d}.encoder.1", 64, batch=True)
    inside = 64
    for i, depth in enumerate((3, 4, 6, 3)):
        c = 64 * 2**i
        for j in range(depth):
            at = f"{d}.encoder.{4 + i}.{j}"
            for k, (out, of, size) in enumerate(((c, inside, 1), (c, c, 3), (4 * c, c, 1)), 1):
                layer(f"{at}.conv{k}", out, of, size, size, bias=False)
                norm(f"{at}.bn{k}", out, batch=True)
            if j == 0:
                layer(f"{at}.downsample.0", 4 * c, inside, 1, 1, bias=False)
                norm(f"{at}.downsample.1", 4 * c, batch=True)
            inside = 4 * c
    for at, out in ((0, 2048), (3, 128)):
        layer(f"{d}.projector.{at}", out, 2048, bias=False)
        norm(f"{d}.projector.{at + 1}", out, batch=True)
    two(f"{b}.dist_adapter", 128, 128)
    found[f"{b}.a1"] = found[f"{b}.a2"] = (len(stages), 1)
    for i, c in enumerate(stages):
        two(f"{b}.semantic_adapter.{i}", 768, c)
        two(f"{b}.distortion_adapter.{i}", 128, c)
        for k in ("gama", "beta"):
            layer(f"{b}.semantic_mod.{i}.conv_{k}", 1, c, 1, 1)
        for k in ("gamma", "beta"):
            layer(f"{b}.distortion_mod.{i}.get_{k}", c, c)
        for k in "qkv":
            layer(f"{b}.semantic_cross.{i}.fc_{k}", c, c)
            layer(f"{b}.distortion_cross.{i}.fc_{k}", c, c)
        layer(f"{b}.distortion_self.{i}.to_qkv", 3 * c, c, bias=False)
        layer(f"{b}.distortion_self.{i}.to_out.0", c, c)
    layer("KSVQE_head.fc_hid", 64, 768, 1, 1, 1)
    layer("KSVQE_head.fc_last", 1, 64, 1, 1, 1)
    return found


@pytest.mark.parametrize(
    ("config", "stages", "adapters"),
    [
        (KsvqeConfig(), [768, 768], 4),
        (KsvqeConfig(adapter_start=10, tuning_stage=1), [384, 768, 768], 2),
    ],
    ids=["release", "training config's stages, paper's adapters"],
)
def test_names_and_shapes(config: KsvqeConfig, stages: list[int], adapters: int) -> None:
    with torch.device("meta"):
        net = KSVQE(config)
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == names_of(stages, adapters)


def test_parameters_are_as_many_as_the_parts_have() -> None:
    """Video Swin-T 27.85 M (torchvision's swin3d_t less its classifier), ViT-B/16's image tower 86.19 M,
    ResNet-50 25.56 M less its classifier: the published numbers; the rest is counted here."""
    with torch.device("meta"):
        net = KSVQE()
    tables = 15 * 13 * 13 * (3 * 2 + 6 * 2 + 12 * 6)
    head = 768 * 64 + 64 + 64 + 1
    resnet = 25_557_032 - (2048 * 1000 + 1000)
    projector = 2048 * 2048 + 2 * 2048 + 2048 * 128 + 2 * 128
    frozen = 86_192_640 + resnet + projector
    adapters = 4 * (768 * 192 + 192 + 192 * 768 + 768) + (128 * 32 + 32 + 32 * 128 + 128)
    square = 768 * 768
    stage = (768 * 192 + 192 + 192 * 768 + 768) + (128 * 32 + 32 + 32 * 768 + 768)
    stage += 2 * (768 + 1) + 2 * (square + 768) + 6 * (square + 768) + 3 * square + (square + 768) + 2
    learnt = 27_850_470 + tables + head + adapters + 2 * stage
    assert sum(p.numel() for p in net.parameters() if not p.requires_grad) == frozen
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == learnt


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_loaded_strictly(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    made = replace(SMALL, adapter_start=0, tuning_stage=2)
    state = network(made).state_dict()
    named = {prefix + k: v for k, v in state.items()}
    path = tmp_path / "x.pth"
    torch.save({"state_dict": named, "validation_results": (-1, -1, -1, 1999)} if wrapped else named, path)
    config, found = load_checkpoint(path, SMALL)
    assert (config.adapter_start, config.tuning_stage) == (0, 2)
    net = KSVQE(config)
    net.load_state_dict(found, strict=True)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    del named[f"{prefix}KSVQE_head.fc_last.bias"], named[f"{prefix}KSVQE_backbone.a2"]
    torch.save({**named, f"{prefix}KSVQE_head.extra": torch.zeros(1)}, path)
    missing = r"missing \[KSVQE_backbone.a2, KSVQE_head.fc_last.bias\], unexpected \[KSVQE_head.extra\]"
    with pytest.raises(ModelError, match=missing):
        load_checkpoint(path, SMALL)


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    path, state = tmp_path / "x.pth", network().state_dict()
    with pytest.raises(MissingFile):
        load_checkpoint(path)
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"must be for ksvqe: .*wrong shape"):
        load_checkpoint(path)
    stages = "KSVQE_backbone.a1"
    torch.save({k: v for k, v in state.items() if k != stages and "adapter_layer" not in k}, path)
    missing = rf"missing \[{stages}, KSVQE_backbone.CLIP_tool.adapter_layer.0.0.weight"
    with pytest.raises(ModelError, match=missing):
        load_checkpoint(path, SMALL)
    key = next(k for k in state if k.endswith("relative_position_index"))
    torch.save({**state, key: state[key] + 1}, path)
    with pytest.raises(ModelError, match="must be the index of window"):
        load_checkpoint(path, SMALL)
