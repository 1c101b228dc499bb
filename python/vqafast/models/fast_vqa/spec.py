"""What model.json says of a model of the family "fast_vqa"."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError

from ..spec import ModelSpec, PoolingSpec

if TYPE_CHECKING:
    from .._fields import Fields


@dataclass(frozen=True, slots=True)
class FragmentView:
    """One mini-patch of `patch` pixels from each cell of a `grid` by `grid` grid, tiled into one picture.

    RGB in 0..1 is normalised by `mean` and `std`. `frames` is the length of a clip, over all its runs.
    """

    grid: int
    patch: int
    frames: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def side(self) -> int:
        """Pixels a side of the tiled picture."""
        return self.grid * self.patch


@dataclass(frozen=True, slots=True, kw_only=True)
class FastVqaSpec(ModelSpec):
    """One network over clips of fragments (network.onnx), whose scores by time are averaged.

    A sample is a run of frames, and a window of samples is a clip.
    """

    view: FragmentView


def parse(top: Fields, common: dict[str, Any]) -> FastVqaSpec:
    """Read the family's part; `common` has the fields of `ModelSpec`."""
    view = fragment_view(top.section("view"))
    spec = FastVqaSpec(**common, pooling=PoolingSpec("raw_mean"), view=view)
    sampling = spec.sampling
    if sampling.kind not in ("clips", "segments") or spec.members != 1:
        raise ModelError(
            "model.json: sampling.kind must be clips or segments and members 1 in the family fast_vqa, got "
            f"{sampling.kind} and {spec.members}"
        )
    if sampling.burst * (sampling.window or 1) != spec.view.frames:
        raise ModelError(
            f"model.json: sampling.burst times window must be view.frames, {spec.view.frames}, "
            f"got {sampling.burst} and {sampling.window}"
        )
    return spec


def fragment_view(f: Fields) -> FragmentView:
    """Read a `FragmentView`."""
    mean, std = f.numbers("mean", 3), f.numbers("std", 3, positive=True)
    view = FragmentView(
        f.integer("grid", low=1),
        f.integer("patch", low=1),
        f.integer("frames", low=2),
        (mean[0], mean[1], mean[2]),
        (std[0], std[1], std[2]),
    )
    f.done()
    return view


def unit(values: tuple[float, float, float]) -> tuple[float, float, float]:
    """From 0..255 to 0..1."""
    a, b, c = (v / 255.0 for v in values)
    return a, b, c


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Write the family's part."""
    assert isinstance(spec, FastVqaSpec)
    return {"view": listed(asdict(spec.view))}


def listed(section: dict[str, Any]) -> dict[str, Any]:
    """Tuples as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in section.items()}
