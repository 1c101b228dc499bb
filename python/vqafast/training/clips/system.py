"""What a family of networks over clips brings to its training, and the families by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vqafast.errors import InvalidArgument
from vqafast.models.fast_vqa.config import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor, nn

    from vqafast.models.spec import ModelSpec
    from vqafast.video.source import FrameSource

#: What the authors' trainings of all families share.
RECIPE: dict[str, Any] = {
    "optimiser": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup": 2.5,
    "ema": 0.999,
    "patience": None,  # all epochs, of which the best is kept
    "workers": 4,
}
#: Names that `system_of` takes.
NAMES: tuple[str, ...] = (*PRESETS, "ksvqe", "kvq", "clif-vqa")


@dataclass(frozen=True, slots=True)
class Start:
    """A network before its training.

    Attributes
    ----------
    network : torch.nn.Module
    random : tuple of str
        Frozen parts without weights: they stay random, and the scores mean nothing.
    notes : tuple of str
        What a person should know, e.g. that all of it starts from random weights.
    """

    network: nn.Module
    random: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ClipSystem(Protocol):
    """One network, how it sees a video, and how its authors train it; threads may share it.

    A clip is a tuple of tensors without a batch axis; the network takes the same tensors with one, and
    gives scores ``(B,)``. A video's score is the mean over its clips.
    """

    @property
    def name(self) -> str:
        """What ``vqafast train`` calls it."""
        ...

    @property
    def paper(self) -> str:
        """Where recipe and losses stand."""
        ...

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Fields of `RunConfig` that its authors set, losses among them."""
        ...

    @property
    def weights(self) -> tuple[str, ...]:
        """Fields of `RunConfig` with weights that `start` takes."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that decides network and views, as JSON values."""
        ...

    def start(self, weights: Mapping[str, str]) -> Start:
        """Make the network, with what `weights` has not from torch's generator.

        Raises
        ------
        MissingFile, ModelError
            For weights that are not there, cannot be read or do not fit.
        """
        ...

    def backbone(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """Parameters whose learning rate is `Recipe.backbone_lr` times the others'."""
        ...

    def views(self, source: FrameSource, *, draw: int, seed: int, threads: int) -> list[tuple[Tensor, ...]]:
        """Clips of one video.

        Draw 0 gives all clips that scoring sees. Others give one clip for training, at a place and with
        positions that depend on `seed` and `draw` alone; none if its frames are all damaged.

        Raises
        ------
        TooSmall
            For pictures that scoring would refuse.
        """
        ...

    def training_scores(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        """Scores ``(B,)``, and what is added to the losses: a scalar mean over B, weighted."""
        ...

    def write(
        self, network: nn.Module, out: str | PathLike[str], *, random: bool, **described: Any
    ) -> ModelSpec:
        """Write a model directory that ``Scorer`` loads; `described` are fields of `ModelSpec`."""
        ...


def system_of(name: str) -> ClipSystem:
    """The family's object by name.

    Raises
    ------
    InvalidArgument
        For a name that is not in `NAMES`.
    """
    if name in PRESETS:
        from vqafast.training.clips.fast_vqa import FastVqaSystem

        return FastVqaSystem(PRESETS[name])
    if name == "ksvqe":
        from vqafast.training.clips.ksvqe import KsvqeSystem

        return KsvqeSystem()
    if name == "kvq":
        from vqafast.training.clips.kvq import KvqSystem

        return KvqSystem()
    if name == "clif-vqa":
        from vqafast.training.clips.clif_vqa import ClifVqaSystem

        return ClifVqaSystem()
    raise InvalidArgument(f"train: model must be one of {', '.join(NAMES)}, got {name!r}")
