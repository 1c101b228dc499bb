"""What model.json says of a model of the family "kvq"."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError

from ..fast_vqa.spec import listed
from ..spec import ModelSpec, PoolingSpec

if TYPE_CHECKING:
    from .._fields import Fields


@dataclass(frozen=True, slots=True)
class ResizedView:
    """The whole picture of each of `frames` frames, resized to `side` by `side` pixels.

    RGB in 0..1 is normalised by `mean` and `std`.
    """

    side: int
    frames: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KvqSpec(ModelSpec):
    """One network (network.onnx), which gives quality and saliency by region. A sample is a clip."""

    view: ResizedView

    @property
    def has_maps(self) -> bool:
        """True."""
        return True


def parse(top: Fields, common: dict[str, Any]) -> KvqSpec:
    """Read the family's part; `common` has the fields of `ModelSpec`."""
    view = top.section("view")
    mean, std = view.numbers("mean", 3), view.numbers("std", 3, positive=True)
    spec = KvqSpec(
        **common,
        pooling=PoolingSpec("raw_mean"),
        view=ResizedView(
            view.integer("side", low=32),
            view.integer("frames", low=2),
            (mean[0], mean[1], mean[2]),
            (std[0], std[1], std[2]),
        ),
    )
    view.done()
    sampling = spec.sampling
    if sampling.kind != "clips" or sampling.window != 1 or spec.members != 1:
        raise ModelError(
            "model.json: sampling.kind must be clips, window and members 1 in the family kvq, got "
            f"{sampling.kind}, {sampling.window} and {spec.members}"
        )
    if sampling.burst != spec.view.frames:
        raise ModelError(
            f"model.json: sampling.burst must be view.frames, {spec.view.frames}, got {sampling.burst}"
        )
    return spec


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Write the family's part."""
    assert isinstance(spec, KvqSpec)
    return {"view": listed(asdict(spec.view))}
