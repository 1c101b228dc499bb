"""Checkpoints of networks: read without running code in them, and compared with what a network has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vqafast.errors import MissingFile, ModelError

if TYPE_CHECKING:
    from os import PathLike

# Containers in which published checkpoints keep their parameters.
_WRAPPERS = ("state_dict", "model_state", "model")


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` or torch file by name, out of the container that has them.

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
        with _numpy_numbers():
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


@contextmanager
def _numpy_numbers() -> Iterator[None]:
    """Let torch's safe reader take NumPy scalars: authors keep correlations beside the weights.

    They can hold numbers and nothing that runs. The name before NumPy 2 is theirs.
    """
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes: list[Any] = [np.dtype, *(type(np.dtype(d)) for d in ("f8", "f4", "i8"))]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    with torch.serialization.safe_globals([*dtypes, *((scalar, n) for n in names)]):
        yield


def check_tensors(
    must: str,
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    optional: str = "\0",
    left_over: Sequence[str] = (),
    path: str | None = None,
) -> None:
    """Compare names and shapes.

    Parameters
    ----------
    must : str
        How the message begins.
    state, wanted : mapping of str to Tensor
        What there is, and what there must be; values do not matter.
    optional : str
        Names that end so may be missing.
    left_over : sequence of str
        More names that are not wanted.
    path : str, optional
        Of the file, for the error.

    Raises
    ------
    ModelError
        When they differ: the message has the names.
    """
    missing = [k for k in wanted if k not in state and not k.endswith(optional)]
    unexpected = [*left_over, *(k for k in state if k not in wanted)]
    wrong = [
        f"{k} {tuple(state[k].shape)} != {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    if missing or unexpected or wrong:
        raise ModelError(
            f"{must}: missing {listed(missing)}, unexpected {listed(unexpected)}, "
            f"wrong shape {listed(wrong)}",
            path=path,
        )


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Names for a message, the first `limit` of them."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"[{', '.join(names[:limit])}]{more}" if names else "none"
