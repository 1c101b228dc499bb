"""Inference engines: each runs one exported graph, on the host's NumPy arrays or on a GPU's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import PRECISIONS, Engine, Shapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

__all__ = [
    "DEFAULT_ENGINES",
    "ENGINES",
    "HEAD_ENGINES",
    "PRECISIONS",
    "Engine",
    "Shapes",
    "check_engine",
    "create_engine",
]

ENGINES: tuple[str, ...] = ("openvino", "torch", "tensorrt")

#: Engine for each kind of device where none is asked for.
DEFAULT_ENGINES: dict[str, str] = {"cpu": "openvino", "cuda": "torch"}

#: Engine of the small f32 head beside each engine of backbones. TensorRT's head is torch's: the head's
#: length of time changes from video to video, and tuning for it would cost more than it gains.
HEAD_ENGINES: dict[str, str] = {"openvino": "openvino", "torch": "torch", "tensorrt": "torch"}

_DEVICES = {"openvino": ("cpu",), "torch": ("cpu", "cuda"), "tensorrt": ("cuda",)}


def check_engine(name: str, device: str) -> None:
    """Raise `InvalidArgument` unless `name` is an engine, `Unsupported` unless it runs on `device`."""
    from vqafast.errors import InvalidArgument, Unsupported

    if name not in ENGINES:
        raise InvalidArgument(f"engine must be one of {list(ENGINES)}, got {name!r}")
    kinds = _DEVICES[name]
    if device.split(":", maxsplit=1)[0] not in kinds:
        raise Unsupported(f"engine {name} runs on {' and '.join(kinds)}, got device {device!r}")


def create_engine(
    name: str,
    model: bytes | str | PathLike[str],
    *,
    threads: int = 0,
    precision: str = "f32",
    device: str = "cpu",
    shapes: Mapping[str, Shapes] | None = None,
) -> Engine:
    """Compile an ONNX graph with the engine called `name`.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    model : bytes or path
        ONNX graph, or where it is.
    threads : int
        Upper limit on CPU threads; 0 lets the library decide. Engines on a GPU do not read it.
    precision : {"f32", "f16", "bf16", "int8"}
        "bf16" and "int8" are OpenVINO's, "f16" is for torch and TensorRT.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    shapes : mapping of str to Shapes, optional
        Of each input; TensorRT needs them.

    Raises
    ------
    InvalidArgument
        For an unknown engine, precision or a negative thread count.
    EngineUnavailable
        When the engine's library is not installed, or there is no such device.
    Unsupported
        When this machine, this engine or this graph cannot do the precision or the device.
    ModelError
        When the graph cannot be read.
    """
    from vqafast.errors import EngineUnavailable

    check_engine(name, device)
    if name == "openvino":
        from .openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, threads=threads, precision=precision)
    if name == "torch":
        try:
            from .onnx_module import OnnxModule
        except ImportError as e:
            raise EngineUnavailable(
                f"engine torch needs torch and onnx: {e}; pip install 'vqafast[gpu]'"
            ) from e
        from .torch_engine import TorchEngine

        module = OnnxModule(model)
        return TorchEngine(
            module,
            inputs=module.input_names,
            outputs=module.output_names,
            device=device,
            precision=precision,
        )
    from .tensorrt_engine import TensorRtEngine

    return TensorRtEngine(model, device=device, precision=precision, profiles=shapes)
