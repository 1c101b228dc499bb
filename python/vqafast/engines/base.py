"""What an inference engine must do, whatever library stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .arrays import Arrays

Array = NDArray[Any]

PRECISIONS: tuple[str, ...] = ("f32", "f16", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Smallest, usual and largest shape of an input."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


@runtime_checkable
class Engine(Protocol):
    """One compiled graph.

    Attributes
    ----------
    name : str
        Library and version, as it is written into an ``Assessment``, e.g. ``"openvino 2026.4"``.
    precision : str
        One of `PRECISIONS`; what the engine really computes in.
    threads : int
        Threads in use; 0 when the library decides.
    inputs, outputs : tuple of str
        Names of the graph's inputs and outputs, in graph order.
    device : str
        Where it computes: ``"cpu"`` or ``"cuda:N"``.
    arrays : Arrays
        What `run` takes and gives: NumPy arrays, or torch tensors on `device`.
    static_shapes : bool
        Whether calls with always the same shapes are worth padding for.
    notes : tuple of str
        What did not go as it should and was done in another way, so far.
    """

    @property
    def name(self) -> str:
        """Library and version."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    @property
    def threads(self) -> int:
        """Threads in use; 0 when the library decides."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        ...

    @property
    def device(self) -> str:
        """Where it computes."""
        ...

    @property
    def arrays(self) -> Arrays:
        """What `run` takes and gives."""
        ...

    @property
    def static_shapes(self) -> bool:
        """Whether calls with always the same shapes are worth padding for."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done in another way than it should."""
        ...

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every output.

        Parameters
        ----------
        inputs : mapping of str to array
            One array of `arrays` per name in `inputs`; nothing missing, nothing more. float32, or
            float16 too where `precision` is "f16".

        Returns
        -------
        dict of str to array
            One array per name in `outputs`. **The arrays are valid until the next `run`** of the
            same engine: they may be views of its memory. Copy what must live longer.

        Raises
        ------
        InvalidArgument
            When a name is missing or unknown, or an array has the wrong type or rank.
        """
        ...


def check_names(who: str, expected: tuple[str, ...], inputs: Mapping[str, Any]) -> None:
    """Raise `InvalidArgument` unless `inputs` has exactly the names `expected`."""
    from vqafast.errors import InvalidArgument

    if set(inputs) != set(expected):
        raise InvalidArgument(f"{who}: inputs must be exactly {sorted(expected)}, got {sorted(inputs)}")


def check_inputs(who: str, expected: tuple[str, ...], inputs: Mapping[str, Array]) -> None:
    """Raise `InvalidArgument` unless `inputs` holds exactly the float32 arrays `expected`."""
    from vqafast.errors import InvalidArgument

    check_names(who, expected, inputs)
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            got = getattr(array, "dtype", type(array).__name__)
            raise InvalidArgument(f"{who}: input {name!r} must be a float32 ndarray, got {got}")


def first_line(error: BaseException) -> str:
    """What `error` says in its first line, or its kind if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
