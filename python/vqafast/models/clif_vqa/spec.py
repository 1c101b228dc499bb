"""What model.json says of a model of the family "clif_vqa"."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vqafast.errors import ModelError

from ..fast_vqa.spec import FragmentView, fragment_view, listed
from ..spec import ModelSpec, PoolingSpec

if TYPE_CHECKING:
    from .._fields import Fields


@dataclass(frozen=True, slots=True)
class BlockView:
    """`grid` by `grid` blocks of `side` pixels from each of `looks` frames of a clip.

    RGB in 0..1 is normalised by `mean` and `std`.
    """

    grid: int
    side: int
    looks: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClifVqaSpec(ModelSpec):
    """Fragments through spatial.onnx, blocks through semantic.onnx, both through head.onnx.

    A sample is a clip. `descriptions` are what semantic.onnx answers for, in its order.
    """

    view: FragmentView
    blocks: BlockView
    descriptions: tuple[str, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The descriptions: the value of each is its share of the softmax over all."""
        return self.descriptions


def parse(top: Fields, common: dict[str, Any]) -> ClifVqaSpec:
    """Read the family's part; `common` has the fields of `ModelSpec`."""
    blocks = top.section("blocks")
    mean, std = blocks.numbers("mean", 3), blocks.numbers("std", 3, positive=True)
    spec = ClifVqaSpec(
        **common,
        pooling=PoolingSpec("raw_mean"),
        view=fragment_view(top.section("view")),
        blocks=BlockView(
            blocks.integer("grid", low=1),
            blocks.integer("side", low=1),
            blocks.integer("looks", low=1),
            (mean[0], mean[1], mean[2]),
            (std[0], std[1], std[2]),
        ),
        descriptions=top.texts("descriptions"),
    )
    blocks.done()
    sampling = spec.sampling
    if sampling.kind != "clips" or sampling.window != 1 or spec.members != 1:
        raise ModelError(
            "model.json: sampling.kind must be clips, window and members 1 in the family clif_vqa, got "
            f"{sampling.kind}, {sampling.window} and {spec.members}"
        )
    if sampling.burst != spec.view.frames or not spec.blocks.looks <= spec.view.frames:
        raise ModelError(
            f"model.json: sampling.burst must be view.frames, {spec.view.frames}, and blocks.looks at most "
            f"that, got {sampling.burst} and {spec.blocks.looks}"
        )
    if len(set(spec.descriptions)) < len(spec.descriptions):
        raise ModelError(f"model.json: descriptions must be different, got {list(spec.descriptions)}")
    return spec


def to_json(spec: ModelSpec) -> dict[str, Any]:
    """Write the family's part."""
    assert isinstance(spec, ClifVqaSpec)
    return {
        "view": listed(asdict(spec.view)),
        "blocks": listed(asdict(spec.blocks)),
        "descriptions": list(spec.descriptions),
    }
