"""The networks, sampling and views of a run: a variant of the papers with the config's changes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from vqafast.errors import InvalidArgument
from vqafast.models.a2inet.modules import A2INetHead
from vqafast.models.a2inet.variants import build_backbones, variant
from vqafast.models.backbones.table import BACKBONES
from vqafast.training.backbones import Backbones

if TYPE_CHECKING:
    from torch import nn

    from vqafast.models.a2inet.config import HeadConfig
    from vqafast.models.spec import QualityView, SamplingSpec, SemanticView
    from vqafast.training.run_config import RunConfig

_Spec = TypeVar("_Spec", "HeadConfig", "SamplingSpec", "QualityView", "SemanticView")
# Random backbones are the same in every run, whatever its seed, so that their features are shared.
_RANDOM_SEED = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """A model to train.

    Attributes
    ----------
    name, paper : str
        Of the variant, and where it stands in the papers.
    quality : torch.nn.Module or None
        None when the view's features come from an op.
    random : tuple of str
        Branches whose weights are random.
    """

    name: str
    paper: str
    head: HeadConfig
    sampling: SamplingSpec
    quality_view: QualityView
    semantic_view: SemanticView
    quality: nn.Module | None
    semantic: nn.Module
    random: tuple[str, ...] = ()

    def backbones(self, device: str | torch.device = "cpu") -> Backbones:
        """The frozen part, for extraction."""
        return Backbones(
            self.quality, self.semantic, self.sampling, self.quality_view, self.semantic_view, device=device
        )

    def new_head(self, seed: int) -> A2INetHead:
        """An untrained head; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return A2INetHead(self.head)


def parts_of(config: RunConfig) -> Parts:
    """Build what `config` names.

    Raises
    ------
    InvalidArgument
        For an unknown variant, fields that its specs do not have, or an export that cannot be.
    MissingFile, ModelError
        For weights that are not given, not found or do not fit.
    """
    chosen = variant(config.model)
    backbones = (chosen.quality_backbone, chosen.semantic_backbone)
    graphless = [name for name in backbones if not BACKBONES[name].exportable]
    if config.export and graphless:
        # said before the hours of extraction and training, not after
        raise InvalidArgument(
            f"run config: export must be false for {chosen.name}: {', '.join(graphless)} has no ONNX graph"
        )
    chosen = replace(
        chosen,
        head=_changed("head", chosen.head, config.head),
        sampling=_changed("sampling", chosen.sampling, config.sampling),
        quality=_changed("quality_view", chosen.quality, config.quality_view),
        semantic=_changed("semantic_view", chosen.semantic, config.semantic_view),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        quality, semantic = build_backbones(
            chosen, config.quality_weights, config.semantic_weights, random=config.random_backbones
        )
    given = {"quality": config.quality_weights, "semantic": config.semantic_weights}
    return Parts(
        name=chosen.name,
        paper=chosen.paper,
        head=chosen.head,
        sampling=chosen.sampling,
        quality_view=chosen.quality,
        semantic_view=chosen.semantic,
        quality=quality,
        semantic=semantic,
        random=tuple(branch for branch, weights in given.items() if weights is None),
    )


def _changed(what: str, spec: _Spec, changes: dict[str, Any]) -> _Spec:
    known = {f.name for f in fields(spec)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise InvalidArgument(f"run config: {what} must have fields of {sorted(known)}, got {unknown}")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in changes.items()}
    if values.get("rate") is not None:
        values["rate"] = Fraction(values["rate"])
    return replace(spec, **values)
