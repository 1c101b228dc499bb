"""The local perception constraint: parts of a clip seen alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.models.small_kvq import SMALL, SWIN, clip, network  # noqa: E402

from vqafast.models.kvq.loss import from_cubes, into_cubes, local_perception_loss, local_quality  # noqa: E402


@pytest.mark.parametrize("cube", [(2, 32, 32), (2, 64, 32), (4, 64, 128)])
def test_a_cube_alone_is_what_stands_at_its_place(cube: tuple[int, int, int]) -> None:
    net, clips = network(), clip(10, (4, 64, 128), 2)
    a, b, c = cube
    with torch.no_grad():
        whole = local_quality(net, clips, cube)
        assert whole.shape == net.maps(clips).quality.shape
        counts = [range(s // n) for s, n in zip((4, 64, 128), cube, strict=True)]
        for row, i, j, k in itertools.product(range(2), *counts):
            part = clips[row, None, :, i * a : (i + 1) * a, j * b : (j + 1) * b, k * c : (k + 1) * c]
            alone = net.maps(part).quality[0]
            t, h, w = alone.shape
            there = whole[row, i * t : (i + 1) * t, j * h : (j + 1) * h, k * w : (k + 1) * w]
            torch.testing.assert_close(alone, there, rtol=1e-10, atol=1e-10)
        # One cube is the clip: nothing is hidden from anything.
        same = local_perception_loss(net, clips, net.maps(clips), (4, 64, 128))
        assert float(same) == pytest.approx(0, abs=1e-12)


def test_cubes_put_together_are_the_clip() -> None:
    clips = clip(11, (4, 6, 8), 3)
    cubes = into_cubes(clips, (2, 3, 2))
    assert cubes.shape == (3 * 2 * 2 * 4, 3, 2, 3, 2)
    assert torch.equal(from_cubes(cubes[:, 1], (2, 2, 4)), clips[:, 1])


def test_the_loss_is_zero_where_nothing_reaches_beyond_a_cube() -> None:
    """Windows of one token mix nothing but in mergings, which stay in 32 x 32 pixels; windows of (1, 2, 2)
    at (2, 64, 64) pixels reach from one such cube to the next in the last two stages, and no farther."""
    one = replace(SWIN, window=(1, 1, 1), depths=(2, 1, 2, 2))
    two = replace(SWIN, window=(1, 2, 2), depths=(1, 1, 1, 1))
    clips = clip(12, (4, 128, 64), 2)

    def loss(swin: Any, attention: Any, cube: Any) -> float:
        net = network(replace(SMALL, swin=swin, attention=attention))
        with torch.no_grad():
            return float(local_perception_loss(net, clips, net.maps(clips), cube))

    assert loss(one, "inner", (2, 32, 32)) == pytest.approx(0, abs=1e-12)
    assert loss(one, "fused", (2, 32, 32)) > 1e-3
    assert loss(two, "inner", (2, 64, 64)) == pytest.approx(0, abs=1e-12)
    assert loss(two, "inner", (2, 32, 32)) > 1e-3
    assert loss(two, "fused", (2, 64, 64)) > 1e-3


def test_the_loss_and_its_gradient_on_both_sides() -> None:
    net, clips = network(), clip(13, (4, 64, 64))
    maps, alone = net.maps(clips), local_quality(net, clips)
    truth = sum(
        abs(a - b) for a, b in zip(maps.quality.flatten().tolist(), alone.flatten().tolist(), strict=True)
    )
    loss = local_perception_loss(net, clips, maps)
    assert float(loss.detach()) == pytest.approx(truth / maps.quality.numel(), rel=1e-12)
    wanted = [net.quality_head.fc_hid.weight, net.backbone.patch_embed.proj.weight]
    sign = torch.sign(maps.quality - alone).detach() / alone.numel()
    whole = torch.autograd.grad((maps.quality * sign).sum(), wanted, retain_graph=True)
    parts = torch.autograd.grad((alone * sign).sum(), wanted)
    for got, a, b in zip(torch.autograd.grad(loss, wanted), whole, parts, strict=True):
        torch.testing.assert_close(got, a - b, rtol=1e-9, atol=1e-12)
