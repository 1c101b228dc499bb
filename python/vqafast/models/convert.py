"""Authors' checkpoints into model directories: which systems, and what each needs beside its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.errors import EngineUnavailable, InvalidArgument

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

_HEADS = ("vsfa", "mdtvsfa")
_FRAGMENTS = (
    "fast-vqa-b", "fast-vqa-m", "fast-vqa-m-v0.3", "fastervqa", "fastervqa-ms", "fastervqa-mt",
    "dover-technical",
)  # fmt: skip
# No weights of their authors are to be had.
_UNPUBLISHED = ("clif-vqa", "kvq")
#: What ``--from`` takes.
SYSTEMS: tuple[str, ...] = (*_HEADS, *_FRAGMENTS, "ksvqe", *_UNPUBLISHED)


def convert(
    system: str,
    checkpoint: str | PathLike[str] | None,
    out: Path,
    *,
    backbone: str | None = None,
    dataset: str | None = None,
    random_weights: bool = False,
) -> Path:
    """Write the model directory `out` from a checkpoint, and give it back.

    Parameters
    ----------
    system : str
        One of `SYSTEMS`.
    checkpoint : path or None
        Of the authors; no code in it runs, and every key must fit. None with `random_weights` only.
    backbone : str, optional
        Weights of the backbone that the checkpoint lacks; see `vqafast.models.backbones.weights`.
    dataset : str, optional
        See `vqafast.models.vsfa.convert.convert`.
    random_weights : bool
        Leave random what has no weights.

    Raises
    ------
    InvalidArgument
        For another system, or without weights that it needs.
    EngineUnavailable
        Without torch and onnx, which convert.
    MissingFile, ModelError
        When a file is not there or does not fit; missing and unexpected keys are named.
    """
    if system not in SYSTEMS:
        raise InvalidArgument(f"models add: from must be one of {', '.join(SYSTEMS)}, got {system!r}")
    try:
        if system in _UNPUBLISHED:
            _unpublished(system, checkpoint, out, backbone, dataset, random_weights)
        elif system == "ksvqe" or system in _FRAGMENTS:
            _fragments(system, checkpoint, out, backbone or dataset, random_weights)
        else:
            _head(system, checkpoint, out, backbone, dataset, random_weights)
    except ImportError as e:
        raise EngineUnavailable(f"models add: converting needs vqafast[train]: {e}") from e
    return out


def _fragments(
    system: str, checkpoint: str | PathLike[str] | None, out: Path, beside: str | None, random_weights: bool
) -> None:
    if beside is not None:
        raise InvalidArgument(f"models add: {system} takes its checkpoint alone, no backbone and no dataset")
    if (checkpoint is None) != random_weights:
        raise InvalidArgument(
            f"models add: {system} needs its authors' checkpoint (see docs/models.md for where it is), or "
            "--random-weights without one, whose scores mean nothing"
        )
    if system == "ksvqe":
        from .ksvqe.convert import convert as convert_ksvqe

        convert_ksvqe(checkpoint, out)
        return
    from .fast_vqa.convert import convert as convert_network

    convert_network(system, checkpoint, out)


def _unpublished(
    system: str,
    checkpoint: str | PathLike[str] | None,
    out: Path,
    backbone: str | PathLike[str] | None,
    dataset: str | None,
    random_weights: bool,
) -> None:
    if dataset is not None or (backbone is not None and system == "kvq"):
        raise InvalidArgument(
            f"models add: {system} takes no dataset{' and no backbone' * (system == 'kvq')}"
        )
    if checkpoint is not None or not random_weights:
        raise InvalidArgument(
            f"models add: {system} has no published weights: train them (vqafast train {system}), or give "
            "--random-weights without a checkpoint, whose scores mean nothing"
        )
    if system == "kvq":
        from .kvq.convert import convert as convert_kvq

        convert_kvq(out)
        return
    from .clif_vqa.convert import convert as convert_clif_vqa

    convert_clif_vqa(out, clip=backbone)


def _head(
    system: str,
    checkpoint: str | PathLike[str] | None,
    out: Path,
    backbone: str | None,
    dataset: str | None,
    random_weights: bool,
) -> None:
    from .vsfa.convert import convert as convert_head

    if checkpoint is None:
        raise InvalidArgument(f"models add: {system} needs its authors' checkpoint")
    if backbone is None and not random_weights:
        raise InvalidArgument(
            f"models add: {system} reads ResNet-50's features, whose weights its checkpoint lacks: give "
            "--backbone resnet50-imagenet (fetched from torchvision's server) or a file with them; "
            "--random-weights tries the model without, and its scores mean nothing"
        )
    if backbone is not None and random_weights:
        raise InvalidArgument("models add: --backbone and --random-weights exclude each other")
    convert_head(system, checkpoint, out, backbone=backbone, dataset=dataset)
