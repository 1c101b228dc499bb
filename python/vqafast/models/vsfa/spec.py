"""What model.json says of a model of the family "vsfa"."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError

from ..spec import ModelSpec, PoolingSpec

if TYPE_CHECKING:
    from .._fields import Fields

POOLINGS = ("sitp", "hysteresis", "mean")


@dataclass(frozen=True, slots=True)
class FrameView:
    """The whole frame at its own size, RGB normalised by `mean` and `std`.

    `features` counts the pooled features of backbone.onnx. `unbiased` takes standard deviations over
    space with n - 1, as the authors' `torch.std` does.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    features: int
    unbiased: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VsfaSpec(ModelSpec):
    """One backbone over whole frames (backbone.onnx), one head over time (head.onnx)."""

    view: FrameView


def parse(top: Fields, common: dict[str, Any]) -> VsfaSpec:
    """Read the family's part; `common` has the fields of `ModelSpec`."""
    view, pooling = top.section("view"), top.section("pooling")
    mean, std = view.numbers("mean", 3), view.numbers("std", 3, positive=True)
    spec = VsfaSpec(
        **common,
        pooling=PoolingSpec(
            pooling.choice("kind", POOLINGS),
            pooling.number("alpha", low=0.0, high=1.0),
            pooling.integer("beta", low=1),
        ),
        view=FrameView(
            (mean[0], mean[1], mean[2]),
            (std[0], std[1], std[2]),
            view.integer("features", low=1),
            view.boolean("unbiased"),
        ),
    )
    view.done()
    pooling.done()
    if spec.sampling.burst != 1 or spec.members != 1:
        raise ModelError(
            "model.json: sampling.burst and members must be 1 in the family vsfa, got "
            f"{spec.sampling.burst} and {spec.members}"
        )
    return spec


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Write the family's part."""
    assert isinstance(spec, VsfaSpec)
    view = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec.view).items()}
    return {"view": view, "pooling": asdict(spec.pooling)}
