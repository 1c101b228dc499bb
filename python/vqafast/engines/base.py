"""What an inference engine must do, whatever library stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[Any]

PRECISIONS: tuple[str, ...] = ("f32", "bf16", "int8")


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

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            One float32 array per name in `inputs`; nothing missing, nothing more.

        Returns
        -------
        dict of str to ndarray
            One array per name in `outputs`. **The arrays are valid until the next `run`** of the
            same engine: they may be views of its memory. Copy what must live longer.

        Raises
        ------
        InvalidArgument
            When a name is missing or unknown, or an array has the wrong type or rank.
        """
        ...


def check_inputs(who: str, expected: tuple[str, ...], inputs: Mapping[str, Array]) -> None:
    """Raise `InvalidArgument` unless `inputs` holds exactly the float32 arrays `expected`."""
    from vqafast.errors import InvalidArgument

    if set(inputs) != set(expected):
        raise InvalidArgument(f"{who}: inputs must be exactly {sorted(expected)}, got {sorted(inputs)}")
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            got = getattr(array, "dtype", type(array).__name__)
            raise InvalidArgument(f"{who}: input {name!r} must be a float32 ndarray, got {got}")
