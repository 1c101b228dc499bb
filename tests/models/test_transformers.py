"""The transformer backbones against torch's own encoder and a slow transcription of shifted windows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vqafast.models.backbones.swin3d import SwinVideo, _WindowAttention, swin3d_t  # noqa: E402
from vqafast.models.backbones.vit import VitStages, vit_b8_iqa, vit_b16  # noqa: E402


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert count(VitStages(16, (11,), classes=1000)) == 86_567_656
        assert count(swin3d_t(classes=400)) == 28_158_070
        assert vit_b16().channels == vit_b8_iqa().channels == (768,) * 4
        assert vit_b8_iqa().taps == (6, 7, 8, 9)


def test_vit_equals_torchs_encoder() -> None:
    torch.manual_seed(0)
    net = VitStages(32, (0, 2), width=24, depth=3, heads=3).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 3, 224, 224)
    tokens = net.patch_embed.proj(x).flatten(2).transpose(1, 2)
    z = torch.cat([net.cls_token.expand(2, -1, -1), tokens], dim=1) + net.pos_embed
    expected = []
    for i, block in enumerate(net.blocks):
        layer = torch.nn.TransformerEncoderLayer(
            24, 3, 96, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        ).eval()
        layer.load_state_dict({
            "self_attn.in_proj_weight": block.attn.qkv.weight, "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.attn.proj.weight,
            "self_attn.out_proj.bias": block.attn.proj.bias,
            "linear1.weight": block.mlp.fc1.weight, "linear1.bias": block.mlp.fc1.bias,
            "linear2.weight": block.mlp.fc2.weight, "linear2.bias": block.mlp.fc2.bias,
            "norm1.weight": block.norm1.weight, "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight, "norm2.bias": block.norm2.bias,
        })  # fmt: skip
        with torch.no_grad():
            z = layer(z)
        if i in (0, 2):
            expected.append(z[:, 1:].transpose(1, 2).reshape(2, 24, 7, 7))
    with torch.no_grad():
        got = net(x)
    assert len(got) == 2
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_vit_takes_other_sizes() -> None:
    torch.manual_seed(0)
    net = VitStages(32, (0,), width=24, depth=2, heads=3).eval()
    with torch.no_grad():
        (a,) = net(torch.zeros(1, 3, 96, 170))
        torch.nn.init.zeros_(net.patch_embed.proj.bias)
        assert a.shape == (1, 24, 3, 5)
        # Constant position embeddings stay constant when they are resized.
        net.pos_embed[:, 1:] = 0.5
        (b,) = net(torch.zeros(1, 3, 96, 160))
        torch.testing.assert_close(b, b[:, :, :1, :1].expand_as(b))


def slow_attention(net: _WindowAttention, x: Any, window: tuple[int, int, int]) -> Any:
    """Token by token in float64: a token sees those of its window, whose borders moved by half of one."""
    size = x.shape[:3]
    shift = [w // 2 if net.shifted and s > w else 0 for s, w in zip(size, window, strict=True)]
    padded = [-(-s // w) * w for s, w in zip(size, window, strict=True)]
    width, heads = x.shape[3], net.heads
    full = np.zeros((*padded, width))
    full[: size[0], : size[1], : size[2]] = x
    at = np.array(list(product(*(range(p) for p in padded))))
    weight = {k: v.detach().double().numpy() for k, v in net.named_parameters()}
    qkv = full.reshape(-1, width) @ weight["qkv.weight"].T + weight["qkv.bias"]
    q, k, v = qkv.reshape(-1, 3, heads, width // heads).transpose(1, 2, 0, 3)
    group = (at - shift) // window
    together = (group[:, None] == group[None]).all(axis=2)
    apart = np.clip(at[:, None] - at[None], 1 - np.array(window), np.array(window) - 1) + window - 1
    spans = [2 * w - 1 for w in window]
    table = weight["relative_position_bias_table"].reshape(*spans, heads)
    bias = table[apart[..., 0], apart[..., 1], apart[..., 2]].transpose(2, 0, 1)
    logits = q @ k.transpose(0, 2, 1) / np.sqrt(width // heads) + bias
    logits = np.where(together, logits, -np.inf)
    p = np.exp(logits - logits.max(axis=2, keepdims=True))
    y = (p / p.sum(axis=2, keepdims=True)) @ v
    out = y.transpose(1, 0, 2).reshape(-1, width) @ weight["proj.weight"].T + weight["proj.bias"]
    return out.reshape(*padded, width)[: size[0], : size[1], : size[2]]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 7, 7), (9, 7, 7), (8, 9, 7), (8, 7, 13)], ids=str)
def test_windows_equal_the_slow_transcription(size: tuple[int, int, int], shifted: bool) -> None:
    torch.manual_seed(1)
    net = _WindowAttention(8, 2, shifted)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x = torch.randn(1, *size, 8)
    with torch.no_grad():
        got = net(x)[0].numpy()
    np.testing.assert_allclose(got, slow_attention(net, x[0].double().numpy(), (8, 7, 7)), atol=2e-5)


def test_swin_gives_every_frame_its_features() -> None:
    torch.manual_seed(0)
    net = SwinVideo(width=12, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4)).eval()
    assert net.channels == (96,)
    for frames in (1, 2, 5, 18):
        x = torch.randn(frames, 3, 70, 96)
        with torch.no_grad():
            (maps,) = net(x)
        assert maps.shape == (frames, 96, 3, 3)
        if frames > 1:
            assert torch.equal(maps[0], maps[1])
    with torch.no_grad():
        (moved,) = net(torch.cat([x[:-1], x[-1:] + 1]))
    assert not torch.equal(moved[-1], maps[-1])
    assert not torch.equal(moved[-1], moved[0])


def test_which_of_them_become_graphs() -> None:
    """A ViT holds for all sizes as a graph; Swin's windows depend on the clip, and it says so."""
    from vqafast.errors import ModelError
    from vqafast.models.a2inet.export import _backbone

    torch.manual_seed(0)
    vit = VitStages(16, (0, 1), width=24, depth=2, heads=3)
    for size in ((96, 128), (224, 224)):
        _, difference = _backbone("quality", vit, channels=3, size=size, dim=96, clip=False)
        assert difference < 1e-5
    swin = SwinVideo(width=12, depths=(1, 1, 1, 1), heads=(1, 2, 2, 4))
    with pytest.raises(ModelError, match="semantic takes Python values from tensors"):
        _backbone("semantic", swin, channels=3, size=(96, 128), dim=192, clip=True)
