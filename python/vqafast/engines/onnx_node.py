"""What a builder of an ONNX operator gets, and how shape arithmetic and data meet.

A value is data or shape arithmetic. Data are tensors on the module's device in its dtype. Shape arithmetic
is a NumPy array, which stays with the host: reading a number back from a GPU would make it wait, and is
impossible while a CUDA graph is captured. Which one a value is follows from the graph alone, so a graph that
needs data where a number must be is refused before it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vqafast.errors import Unsupported

from .base import Array

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = Tensor | Array
Run = Callable[..., Any]

#: The input that stands for the module's dtype and device; no name in a graph is like it.
ORIGIN = " origin"
#: TensorProto.DataType of a float, and of everything that may be a constant or the target of a cast.
FLOAT = 1
DTYPES: dict[int, type[np.generic]] = {FLOAT: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_}


@dataclass(slots=True)
class Node:
    """One node while it is turned into a function of its inputs.

    Attributes
    ----------
    attributes : dict
        All that the operator may have, with defaults.
    inputs : list
        The name of a value, a constant of the host itself, or None for one that is left out. A builder may
        put other names in.
    on_host : tuple of bool
        Of each input: it is shape arithmetic, or left out.
    host : bool
        The outputs are shape arithmetic: when all inputs are, unless the builder says otherwise.
    constants : mapping of str to ndarray
        Values that are known without running.
    buffers : dict of str to ndarray
        Constants that the builder made; their names are inputs.
    """

    name: str
    operator: str
    attributes: dict[str, Any]
    inputs: list[str | Array | None]
    outputs: tuple[str, ...]
    on_host: tuple[bool, ...]
    host: bool
    constants: Mapping[str, Array]
    buffers: dict[str, Array]

    def only(self, attribute: str, *allowed: Any) -> Any:
        """Value of an attribute, which must be one of `allowed`."""
        value = self.attributes[attribute]
        if value not in allowed:
            raise self.refuse(f"{attribute} must be one of {list(allowed)}, got {value!r}")
        return value

    def refuse(self, what: str) -> Unsupported:
        """Make the error that says what must hold at this node."""
        return Unsupported(f"onnx: {self.operator}: {what} in node {self.name}")

    def constant(self, index: int) -> Array:
        """Input `index`, which must be known without running."""
        name = self.inputs[index]
        if not isinstance(name, str) or name not in self.constants:
            raise self.refuse(f"input {index} must be a constant, is computed")
        return self.constants[name]

    def hold(self, index: int) -> None:
        """Keep input `index` on the device if it is a constant of several whole numbers.

        They are operands of indices that are data, and could not be copied there at run time.
        """
        value = self.inputs[index]
        if isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.size > 1:
            name = f"{self.name} input {index}"
            self.buffers[name] = value
            self.inputs[index] = name

    def data(self, value: Value, like: Tensor) -> Tensor:
        """`value` as data; never a copy from host memory, which a captured graph could not repeat."""
        if isinstance(value, Tensor):
            return value
        fill = value.flat[0].item() if value.size else 0
        if value.size > 1 and not (value == fill).all():
            raise self.refuse(f"shapes that become data must be one number throughout, got {value.tolist()}")
        return torch.full(value.shape, fill, dtype=like.dtype, device=like.device)

    def operand(self, value: Value, other: Value) -> Any:
        """`value` beside the data `other`: a number, which has all its digits in any dtype, if it is one."""
        if isinstance(value, Tensor) or not isinstance(other, Tensor):
            return value
        if value.size == 1 and value.ndim <= other.ndim:
            return value.item()
        return self.data(value, other)


def ints(value: Array) -> list[int]:
    """Shape, axes or indices as torch and NumPy take them."""
    return [int(v) for v in value.reshape(-1)]
