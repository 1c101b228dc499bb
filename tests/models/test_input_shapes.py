"""Shapes that plans are built for: every call of `GraphBranch` is in a range, and no range is too large."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vqafast.engines import Shapes
from vqafast.engines.tensorrt_shapes import by_profile, ordered, split
from vqafast.models import registry
from vqafast.models.branch import GraphBranch
from vqafast.models.families import backbone_inputs
from vqafast.models.input_shapes import LARGEST_SIDE, picture_shapes, view_shapes
from vqafast.models.spec import QualityView, SamplingSpec, SemanticView
from vqafast.models.views import backbone_shapes
from vqafast.models.vsfa.runtime import VsfaRuntime, input_shapes
from vqafast.video.sampling import fit_short_side

if TYPE_CHECKING:
    from vqafast.models.spec import A2INetSpec

#: Width and height of pictures that occur, from phones to 8K, upright, square and wide.
PICTURES = [
    (96, 96), (176, 144), (320, 240), (426, 240), (640, 360), (640, 480), (854, 480), (720, 576), (960, 540),
    (1280, 720), (1280, 536), (1440, 1080), (1920, 800), (1920, 1080), (2048, 858), (2048, 1080),
    (2048, 2048), (2560, 1080), (2560, 1440), (3440, 1440), (3840, 1080), (3840, 1600), (3840, 2160),
    (4096, 1716), (4096, 2160), (4096, 4096), (5120, 1440), (5120, 2880), (7680, 4320), (8192, 4320),
    (8192, 8192),
]  # fmt: skip
PICTURES += [(height, width) for width, height in PICTURES]
STD = (1.0, 1.0, 1.0)


class Static:
    """An engine on a device that says which shapes it got."""

    device, static_shapes, outputs = "cuda:0", True, ()

    class arrays:  # noqa: N801
        @staticmethod
        def concatenate(views: list[Any], axis: int = 0) -> Any:
            return views[0] if len(views) == 1 else np.concatenate(views, axis)


def calls(size: tuple[int, int], batch: int, patches: int = 1) -> int:
    """How many pictures `GraphBranch` gives to a call, when it has enough."""
    branch = GraphBranch(Static(), 1, name="m", in_order=False, batch=batch, threads=1)  # type: ignore[arg-type]
    frames = np.broadcast_to(np.float32(0), (1, 3, size[1], size[0]))
    return branch._limit(frames, patches)


def holds(shapes: Shapes, shape: tuple[int, ...]) -> bool:
    return any(
        all(a <= d <= b for a, d, b in zip(one.smallest, shape, one.largest, strict=True))
        for one in split(shapes)
    )


def check_volumes(shapes: Shapes) -> None:
    """16 elements a pixel are a ResNet's largest maps; TensorRT's tensors have less than 2**31."""
    ordered("frames", shapes)
    for one in split(shapes):
        count, _, height, width = one.largest
        assert 16 * count * height * width < 1 << 31, one


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6, 8, 12, 16, 32, 64])
def test_whole_pictures(batch: int) -> None:
    shapes = picture_shapes(batch, 3, least=64)
    check_volumes(shapes)
    for size in PICTURES:
        shape = (calls(size, batch), 3, size[1], size[0])
        assert holds(shapes, shape), shape
    usual = [one.usual for one in split(shapes)]
    assert (calls((1920, 1080), batch), 3, 1080, 1920) in usual
    for one in split(shapes):
        assert one.usual[0] == calls((one.usual[3], one.usual[2]), batch)
    assert not holds(shapes, (1, 3, 64, LARGEST_SIDE + 1))
    assert not holds(shapes, (batch + 1, 3, 64, 64))


def test_what_is_left_out() -> None:
    """As the documentation says: two pictures of more than 8160 pixels in a call, with batches of up to 8."""
    shapes = picture_shapes(8, 3, least=64)
    assert len(split(shapes)) == 3
    for width, height in ((4064, 512), (4064, 1032), (4096, 1024), (4320, 960), (8160, 512), (8192, 1025)):
        assert holds(shapes, (calls((width, height), 8), 3, height, width))
    assert not holds(shapes, (calls((8192, 512), 8), 3, 512, 8192))


def test_vsfa() -> None:
    assert input_shapes(8) == {"frames": picture_shapes(8, 3, least=VsfaRuntime.min_side)}
    assert split(input_shapes(8)["frames"])[0].smallest == (1, 3, 64, 64)


@pytest.mark.parametrize("batch", [1, 4, 8, 16])
@pytest.mark.parametrize("short", [144, 224, 540])
def test_resized_views(short: int, batch: int) -> None:
    """Up to 16:1, across and upright."""
    shapes = view_shapes(batch, 3, short, least=96)
    check_volumes(shapes)
    assert len(split(shapes)) == 2
    strips = [(1920, 400), (400, 1920), (2304, 144), (144, 2304), (1536, 96)]
    for size in PICTURES + strips:
        width, height = fit_short_side(*size, short)
        assert holds(shapes, (calls((width, height), batch), 3, height, width)), size
    wide = fit_short_side(1920, 1080, short)
    usual = (calls(wide, batch), 3)
    assert [one.usual for one in split(shapes)] == [(*usual, wide[1], wide[0]), (*usual, *wide)]
    assert not holds(shapes, (1, 3, short, 16 * short + 1))


def spec_of(**changes: Any) -> A2INetSpec:
    return replace(registry.load("a2inet-lite"), **changes)  # type: ignore[arg-type]


def quality(patches: tuple[int, int] | None, size: int | None) -> QualityView:
    return QualityView(patches, size, 1, "rgb", STD, STD, None)


def test_built_in_models() -> None:
    """What their runtimes refuse is not asked for: the scene's descriptors need 64 pixels."""
    for name in registry.BUILTIN:
        (shapes,) = backbone_inputs(registry.load(name), 8).values()
        assert {one.smallest for one in split(shapes["frames"])} == {(1, 3, 64, 64)}
        assert split(shapes["frames"])[0].usual == (8, 3, 144, 256)
        assert len(by_profile(shapes)) == 2


def test_patches() -> None:
    spec = spec_of(quality=quality((2, 2), 768))
    (shapes,) = backbone_shapes(spec, "quality", 8).values()
    check_volumes(shapes)
    # As many as a call has of that size. Pictures smaller than a patch make it smaller, and give more.
    assert calls((768, 768), 8, 4) == 14
    assert shapes == Shapes((1, 3, 32, 32), (14, 3, 768, 768), (32, 3, 768, 768))
    for width, height in PICTURES:
        patch = min(width, 768), min(height, 768)
        assert holds(shapes, (calls(patch, 8, 4), 3, patch[1], patch[0]))
    pairs = replace(quality((5, 3), 256), output="luma", temporal="pair")
    (shapes,) = backbone_shapes(spec_of(quality=pairs), "quality", 8).values()
    assert shapes == Shapes((1, 2, 32, 32), (120, 2, 256, 256), (120, 2, 256, 256))


def test_whole_frames_for_quality() -> None:
    (shapes,) = backbone_shapes(spec_of(quality=quality(None, None)), "quality", 8).values()
    assert shapes == picture_shapes(8, 3, least=32)
    whole = SemanticView(None, "rgb", STD, STD, None)
    (shapes,) = backbone_shapes(spec_of(semantic=whole), "semantic", 8).values()
    assert shapes == picture_shapes(8, 3, least=64)


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [
        (SamplingSpec("uniform_count", n=128), [1, 9, 128]),
        (SamplingSpec("time_grid", rate=Fraction(1), window=16), [1, 8, 9, 16]),
        # Videos of any length: 150 samples, where a call is the whole video.
        (SamplingSpec("time_grid", rate=Fraction(1)), [1, 9, 150]),
    ],
)
def test_clips(sampling: SamplingSpec, frames: list[int]) -> None:
    view = SemanticView(540, "rgb", STD, STD, "window")
    (shapes,) = backbone_shapes(spec_of(sampling=sampling, semantic=view), "semantic", 8).values()
    check_volumes(shapes)
    for size in ((1920, 1080), (1080, 1920), (720, 576), (2048, 858)):
        width, height = fit_short_side(*size, 540)
        assert all(holds(shapes, (count, 3, height, width)) for count in frames), size


def test_clips_of_whole_frames() -> None:
    view = SemanticView(None, "rgb", STD, STD, "window")
    spec = spec_of(sampling=SamplingSpec("every_frame"), semantic=view)
    (shapes,) = backbone_shapes(spec, "semantic", 8).values()
    check_volumes(shapes)
    assert holds(shapes, (30, 3, 1080, 1920))
