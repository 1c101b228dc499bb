"""What every op shares: its type, and how ``lengths`` is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Op(Protocol[P, R_co]):
    """A function whose ``reference`` attribute gives the same result, slowly, in float64 NumPy."""

    __name__: str
    reference: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def with_reference(function: Callable[P, R_co], reference: Callable[..., Any]) -> Op[P, R_co]:
    """Attach `reference` to `function` and return it."""
    op = cast("Op[P, R_co]", function)
    op.reference = reference
    return op


_CUDA = 2  # kDLCUDA


def on_cuda(array: Any) -> bool:
    """Whether `array` is one that lies on a CUDA device."""
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == _CUDA


def int64_lengths(op: str, lengths: Any) -> Any:
    """Any sequence of integers as the int64 array the core takes; it checks shape and range.

    Lengths on a CUDA device go as they are: they must be int64, and the kernels clamp them to 1..T.
    """
    if lengths is None or on_cuda(lengths):
        return lengths
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise InvalidArgument(f"{op}: lengths must be integers, got {array.dtype}")
    return array.astype(np.int64, copy=False)


def valid_lengths(lengths: Any, batch: int, time: int) -> npt.NDArray[np.int64]:
    """For references: the given lengths, or ``time`` for each sample."""
    if lengths is None:
        return np.full(batch, time, dtype=np.int64)
    return np.asarray(lengths, dtype=np.int64)
