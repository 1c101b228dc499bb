"""What model.json says of a model of the family "ksvqe"."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError

from ..fast_vqa.spec import FragmentView, fragment_view, listed
from ..spec import ModelSpec, PoolingSpec

if TYPE_CHECKING:
    from .._fields import Fields


@dataclass(frozen=True, slots=True)
class KeyFrameView:
    """The whole picture of some frames of a clip, resized to `side` by `side` pixels.

    `frames` are their numbers in the clip. RGB in 0..1 is normalised by `mean` and `std`.
    """

    frames: tuple[int, ...]
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KsvqeSpec(ModelSpec):
    """One network over clips of fragments and key frames (network.onnx).

    A sample is a run of frames, and a window of samples is a clip.
    """

    view: FragmentView
    keys: KeyFrameView


def parse(top: Fields, common: dict[str, Any]) -> KsvqeSpec:
    """Read the family's part; `common` has the fields of `ModelSpec`."""
    keys = top.section("keys")
    mean, std = keys.numbers("mean", 3), keys.numbers("std", 3, positive=True)
    spec = KsvqeSpec(
        **common,
        pooling=PoolingSpec("raw_mean"),
        view=fragment_view(top.section("view")),
        keys=KeyFrameView(
            keys.integers("frames", low=0),
            keys.integer("side", low=1),
            (mean[0], mean[1], mean[2]),
            (std[0], std[1], std[2]),
        ),
    )
    keys.done()
    sampling, frames = spec.sampling, spec.view.frames
    if sampling.kind not in ("clips", "segments") or spec.members != 1:
        raise ModelError(
            "model.json: sampling.kind must be clips or segments and members 1 in the family ksvqe, got "
            f"{sampling.kind} and {spec.members}"
        )
    if sampling.burst * (sampling.window or 1) != frames:
        raise ModelError(
            f"model.json: sampling.burst times window must be view.frames, {frames}, "
            f"got {sampling.burst} and {sampling.window}"
        )
    chosen = spec.keys.frames
    if list(chosen) != sorted(set(chosen)) or chosen[-1] >= frames:
        raise ModelError(f"model.json: keys.frames must rise and be below {frames}, got {list(chosen)}")
    return spec


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Write the family's part."""
    assert isinstance(spec, KsvqeSpec)
    return {"view": listed(asdict(spec.view)), "keys": listed(asdict(spec.keys))}
