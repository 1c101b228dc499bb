"""Inference engines: each runs one exported graph on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import PRECISIONS, Engine

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["ENGINES", "PRECISIONS", "Engine", "create_engine"]

ENGINES: tuple[str, ...] = ("openvino",)


def create_engine(
    name: str, model: bytes | str | PathLike[str], *, threads: int = 0, precision: str = "f32"
) -> Engine:
    """Compile an ONNX graph with the engine called `name`.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    model : bytes or path
        ONNX graph, or where it is.
    threads : int
        Upper limit on CPU threads; 0 lets the library decide.
    precision : {"f32", "bf16", "int8"}

    Raises
    ------
    InvalidArgument
        For an unknown engine, precision or a negative thread count.
    EngineUnavailable
        When the engine's library is not installed.
    Unsupported
        When this machine or this graph cannot do the precision.
    ModelError
        When the graph cannot be read.
    """
    from vqafast.errors import InvalidArgument

    if name == "openvino":
        from .openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, threads=threads, precision=precision)
    raise InvalidArgument(f"engine must be one of {list(ENGINES)}, got {name!r}")
