"""Loads checkpoints strictly: what is missing, or left over, is named in the error."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import ModelError

from ..checkpoint import check_tensors, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from torch import Tensor, nn


def load_checkpoint_strict(
    module: nn.Module,
    path: str | PathLike[str],
    *,
    ignore: Sequence[str] = (),
    prefix: str = "",
    rename: Callable[[str], str] | None = None,
) -> None:
    """Load a ``.safetensors`` or torch checkpoint; nothing may be missing or left over.

    Parameters
    ----------
    module : torch.nn.Module
        Changed only when everything fits.
    path : str or path
        Torch files are read with ``weights_only=True``: no code in them runs.
    ignore : sequence of str
        Patterns (``fc.*``) of checkpoint keys to leave out, after the prefix is removed. A pattern
        that matches nothing is an error, so that the list stays true.
    prefix : str
        Removed from every key, for example ``"module.backbone."``; keys without it are left over.
    rename : callable, optional
        From the checkpoint's names, prefix removed, to the module's.

    Raises
    ------
    MissingFile, ModelError
    """
    fit(module, read_checkpoint(path), Path(path), ignore=ignore, prefix=prefix, rename=rename)


def fit(
    module: nn.Module,
    state: Mapping[str, Tensor],
    file: Path,
    *,
    ignore: Sequence[str] = (),
    prefix: str = "",
    rename: Callable[[str], str] | None = None,
) -> None:
    """Do what `load_checkpoint_strict` does with a checkpoint that was read from `file`."""
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    left_over = [k for k in state if not k.startswith(prefix)]
    for pattern in ignore:
        matching = [k for k in found if fnmatchcase(k, pattern)]
        outside = [k for k in left_over if fnmatchcase(k, pattern)]
        if not matching and not outside:
            raise ModelError(
                f"checkpoint {file.name}: ignored {pattern!r} must match a key, it matches none",
                path=str(file),
            )
        found = {k: v for k, v in found.items() if k not in matching}
        left_over = [k for k in left_over if k not in outside]
    if rename is not None:
        found = {rename(k): v for k, v in found.items()}
    wanted = module.state_dict()
    # Checkpoints made before batch norm counted batches lack this; it has no part in inference.
    check_tensors(
        f"checkpoint {file.name} does not fit", found, wanted,
        optional=".num_batches_tracked", left_over=left_over, path=str(file),
    )  # fmt: skip
    module.load_state_dict({**wanted, **found})
