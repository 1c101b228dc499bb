"""Loads checkpoints strictly: what is missing, or left over, is named in the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vqafast.errors import MissingFile, ModelError

if TYPE_CHECKING:
    from os import PathLike

# Containers in which published checkpoints keep their parameters.
_WRAPPERS = ("state_dict", "model_state", "model")


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
    fit(module, read(path), Path(path), ignore=ignore, prefix=prefix, rename=rename)


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
    unexpected = [k for k in state if not k.startswith(prefix)]
    for pattern in ignore:
        matching = [k for k in found if fnmatchcase(k, pattern)]
        outside = [k for k in unexpected if fnmatchcase(k, pattern)]
        if not matching and not outside:
            raise ModelError(
                f"checkpoint {file.name}: ignored {pattern!r} must match a key, it matches none",
                path=str(file),
            )
        found = {k: v for k, v in found.items() if k not in matching}
        unexpected = [k for k in unexpected if k not in outside]
    if rename is not None:
        found = {rename(k): v for k, v in found.items()}
    wanted = module.state_dict()
    # Checkpoints made before batch norm counted batches lack this; it has no part in inference.
    missing = [k for k in wanted if k not in found and not k.endswith(".num_batches_tracked")]
    unexpected += [k for k in found if k not in wanted]
    wrong = [
        f"{k} {tuple(found[k].shape)} != {tuple(wanted[k].shape)}"
        for k in wanted
        if k in found and found[k].shape != wanted[k].shape
    ]
    if missing or unexpected or wrong:
        raise ModelError(
            f"checkpoint {file.name} does not fit: missing {_some(missing)}, "
            f"unexpected {_some(unexpected)}, wrong shape {_some(wrong)}",
            path=str(file),
        )
    module.load_state_dict({**wanted, **found})


def read(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name, out of the container it keeps them in.

    Raises
    ------
    MissingFile, ModelError
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFile(f"checkpoint must be a file, got {str(path)!r}", path=str(path))
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        data: object = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:
        # Both readers raise many kinds of error for bad files; all mean the same to the caller.
        raise ModelError(f"checkpoint {file.name} cannot be read: {e}", path=str(file)) from e
    for wrapper in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
            break
    if not isinstance(data, Mapping) or not all(isinstance(v, Tensor) for v in data.values()):
        raise ModelError(f"checkpoint {file.name} must hold a mapping of names to tensors", path=str(file))
    return {str(k): v for k, v in data.items()}


def _some(names: list[str], limit: int = 20) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "[" + ", ".join(names[:limit]) + "]" + more
