"""Fusion window attention, token by token."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small_kvq import SMALL, SWIN, clip, network, randomised  # noqa: E402

from vqafast.engines import create_engine  # noqa: E402
from vqafast.models.kvq import fusion  # noqa: E402
from vqafast.models.kvq.fusion import FusionWindowBlock, most_correlated  # noqa: E402
from vqafast.models.onnx_export import export_graph, noise  # noqa: E402


def window_members(size: Any, window: Any, shift: Any) -> list[list[tuple[Any, Any]]]:
    """Of every window, place in the map (None for padding) and region of every token, one by one."""
    padded = [-(-s // w) * w for s, w in zip(size, window, strict=True)]

    def region(at: int, length: int, w: int, d: int) -> int:
        return 0 if d == 0 or at < length - w else 1 if at < length - d else 2

    found = []
    for first in itertools.product(*(range(0, p, w) for p, w in zip(padded, window, strict=True))):
        members = []
        for step in itertools.product(*map(range, window)):
            rolled = [f + s for f, s in zip(first, step, strict=True)]
            at = [(r + d) % p for r, d, p in zip(rolled, shift, padded, strict=True)]
            inside = all(a < s for a, s in zip(at, size, strict=True))
            place = (at[0] * size[1] + at[1]) * size[2] + at[2] if inside else None
            regions = tuple(map(region, rolled, padded, window, shift))
            members.append((place, (regions, step)))
        found.append(members)
    return found


def by_softmax(q: Any, keys: Any, values: Any, biases: Any) -> Any:
    """Attention of one token in one head: a weight for each key, one by one."""
    logits = [float(q @ k) / math.sqrt(len(q)) + b for k, b in zip(keys, biases, strict=True)]
    top = max(logits)
    weights = [math.exp(x - top) for x in logits]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def slow_inner(block: Any, x: Any, size: Any) -> Any:
    """IWA of one clip ``(L, C)``; padded keys have the projection's bias, as in Swin."""
    attn, out = block.attn, torch.empty_like(x)
    heads, width = attn.heads, x.shape[1]
    window = [min(w, s) for w, s in zip(block.window, size, strict=True)]
    shift = [d if s > w else 0 for d, s, w in zip(block.shift, size, block.window, strict=True)]
    split = torch.nn.functional.linear(x, attn.qkv.weight, attn.qkv.bias).reshape(
        -1, 3, heads, width // heads
    )
    padding = attn.qkv.bias.reshape(3, heads, width // heads)
    spans = [2 * w - 1 for w in attn.window]
    # Where a window is clipped, its tokens take the first places of the full one.
    full = list(itertools.product(*map(range, attn.window)))
    for members in window_members(size, window, shift):
        for i, (place, (region, _)) in enumerate(members):
            if place is None:
                continue
            for h in range(heads):
                keys, values, biases = [], [], []
                for j, (other, (its_region, _)) in enumerate(members):
                    qkv = padding if other is None else split[other]
                    a, b, c = (m - n + w - 1 for m, n, w in zip(full[i], full[j], attn.window, strict=True))
                    bias = float(attn.relative_position_bias_table[(a * spans[1] + b) * spans[2] + c, h])
                    keys.append(qkv[1, h])
                    values.append(qkv[2, h])
                    biases.append(bias + (0.0 if region == its_region else -100.0))
                at = slice(h * width // heads, (h + 1) * width // heads)
                out[place, at] = by_softmax(split[place, 0, h], keys, values, biases)
    return torch.nn.functional.linear(out, attn.proj.weight, attn.proj.bias)


def slow_cross(block: Any, x: Any, size: Any) -> Any:
    """CWA of one clip ``(L, C)``: means, an explicit choice of windows, and their real tokens."""
    cross, out = block.cross, torch.empty_like(x)
    heads, width = cross.heads, x.shape[1]
    split = torch.nn.functional.linear(x, cross.qkv.weight, cross.qkv.bias).reshape(-1, 3, width)
    window = [min(w, s) for w, s in zip(cross.window, size, strict=True)]
    windows = [[p for p, _ in m if p is not None] for m in window_members(size, window, (0, 0, 0))]
    means = [split[m].mean(0) for m in windows]
    for i, members in enumerate(windows):
        scores = [float(means[i][0] @ other[1]) for other in means]
        order = sorted(range(len(windows)), key=lambda j: (-scores[j], j))
        seen = [p for j in order[: cross.correlated] for p in windows[j]]
        for place in members:
            for h in range(heads):
                at = slice(h * width // heads, (h + 1) * width // heads)
                out[place, at] = by_softmax(
                    split[place, 0, at], split[seen, 1, at], split[seen, 2, at], [0.0] * len(seen)
                )
    return torch.nn.functional.linear(out, cross.proj.weight, cross.proj.bias)


# Windows of (2, 2, 2): that fit, that are padded on every axis, and that are clipped to the map in time.
MAPS = {"fit": (4, 4, 4), "padded": (3, 5, 3), "clipped": (1, 4, 5), "few windows": (2, 2, 4)}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("attention", ["fused", "inner", "cross"])
@pytest.mark.parametrize("shifted", [False, True])
def test_attention_token_by_token(name: str, attention: Any, shifted: bool) -> None:
    """ "few windows" has 2, fewer than k = 3, which is clipped."""
    size = MAPS[name]
    with torch.random.fork_rng():
        block = randomised(FusionWindowBlock(replace(SMALL, attention=attention), 2, shifted, 0.0)).double()
    x = noise(6, (2, math.prod(size), SWIN.widths[2])).double()
    with torch.no_grad():
        normed = block.norm1(x)
        parts = []
        if attention != "cross":
            parts.append(torch.stack([slow_inner(block, row, size) for row in normed]))
        if attention != "inner":
            parts.append(torch.stack([slow_cross(block, row, size) for row in normed]))
        truth = x + sum(parts)
        truth = truth + block.mlp(block.norm2(truth))
        torch.testing.assert_close(block(x, size), truth, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(block(x, size).detach(), truth, rtol=1e-9, atol=1e-9)


def test_windows_in_parts_are_all_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients, keys are gathered for some windows at a time; here for one, with padding."""
    net = network()
    with torch.no_grad():
        whole = net.maps(clip(1, (5, 100, 130), 2))
        monkeypatch.setattr(fusion, "_GATHERED_BYTES", 1)
        torch.testing.assert_close(net.maps(clip(1, (5, 100, 130), 2)), whole, rtol=1e-12, atol=1e-12)


class Chosen(torch.nn.Module):
    def forward(self, correlations: Any) -> Any:
        return most_correlated(correlations, 5).to(correlations.dtype)


def test_equal_correlations_are_chosen_by_index() -> None:
    """Three values for 30 windows; in torch, and in both engines that run graphs here."""
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    examples = [(torch.randint(0, 3, (1, 30, 30), generator=g).float(),) for g in draws]
    rows = examples[0][0][0].tolist()
    truth = [sorted(range(30), key=lambda j, r=row: (-r[j], j))[:5] for row in rows]
    assert most_correlated(examples[0][0], 5)[0].tolist() == truth
    data, error = export_graph("chosen", Chosen(), examples, inputs=["c"], outputs=["o"], dynamic={})
    assert error == 0
    got = create_engine("torch", data).run({"c": examples[0][0].numpy()})["o"]
    assert got[0].tolist() == truth


def test_padding_is_neither_chosen_nor_attended_to() -> None:
    """Keys of padding would be the bias of `qkv` or zero; CWA of 5 x 5 tokens sees those 25 alone."""
    with torch.random.fork_rng():
        block = randomised(FusionWindowBlock(replace(SMALL, attention="cross"), 2, False, 0.0)).double()
    # As many as there are windows, gathered: attention is then over all real tokens.
    x = noise(2, (1, 25, SWIN.widths[2])).double()
    size = (1, 5, 5)
    with torch.no_grad():
        block.cross.correlated = 9
        everything = block.cross(x, size)
        qkv = block.cross.qkv(x).reshape(1, 25, 3, 2, -1).permute(2, 0, 3, 1, 4)
        truth = torch.softmax(qkv[0] @ qkv[1].transpose(2, 3) / math.sqrt(qkv.shape[-1]), 3) @ qkv[2]
        truth = block.cross.proj(truth.transpose(1, 2).flatten(2))
    torch.testing.assert_close(everything, truth, rtol=1e-10, atol=1e-10)
