"""TensorRT plans: the one in the cache, or built from an ONNX graph for the GPU that is there."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError, Unreadable

from .arrays import TorchArrays
from .cuda_driver import probe
from .tensorrt_build import build
from .tensorrt_cache import PlanCache, PlanKey
from .tensorrt_graph import parsed_graph
from .tensorrt_library import collector, library, started
from .tensorrt_shapes import by_profile, ordered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    from .base import Shapes
    from .cuda_driver import DriverProbe, Gpu

#: Raised when the code that builds makes other plans from the same key.
BUILDER_VERSION = 2
#: TensorRT's own default, stated so that a new default is a new key.
OPTIMIZATION_LEVEL = 3
_PRECISIONS = ("f32", "f16")


class Plan:
    """One graph for one GPU, in one precision; see `TensorRtEngine` for parameters and errors.

    Attributes
    ----------
    trt : module
    logger : ILogger
        With `last()`, what TensorRT complained about in this thread since that was asked before.
    cuda : module
        ``torch.cuda``.
    arrays : TorchArrays
    key : PlanKey
    graph : bytes
        What TensorRT's parser reads.
    source : str or None
        Path of the graph, if it is a file.
    cache : PlanCache
    notes : list of str
    """

    def __init__(
        self,
        model: bytes | str | PathLike[str],
        *,
        device: str,
        precision: str,
        profiles: Mapping[str, Shapes] | None,
        cache: PlanCache | None,
    ) -> None:
        if precision not in _PRECISIONS:
            raise InvalidArgument(
                f"precision must be one of {list(_PRECISIONS)} for tensorrt, got {precision!r}"
            )
        shapes = {name: ordered(name, one) for name, one in (profiles or {}).items()}
        by_profile(shapes)
        found = probe()
        gpu = _gpu(device, found)
        self.trt = library()
        self.arrays = TorchArrays(device)
        self.logger = collector(self.trt)
        self.notes: list[str] = []
        self.cache = PlanCache() if cache is None else cache
        self.source = None if isinstance(model, bytes) else os.fspath(model)
        self.graph = parsed_graph(_read(model), precision)
        import torch

        self.cuda: Any = torch.cuda
        self._built = False
        self.key = PlanKey(
            onnx_sha256=hashlib.sha256(self.graph).hexdigest(),
            tensorrt=str(self.trt.__version__),
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            cuda=(found.driver_version and found.driver_version[0], _major(torch.version.cuda)),
            precision=precision,
            optimization_level=OPTIMIZATION_LEVEL,
            builder_version=BUILDER_VERSION,
            profiles=shapes,
        )

    @property
    def path(self) -> Path:
        """Where the plan is kept."""
        return self.cache.path(self.key)

    def note(self, text: str) -> None:
        """Add to `notes`, once."""
        if text not in self.notes:
            self.notes.append(text)

    def engine(self) -> Any:
        """Give the ICudaEngine: from the cache, else built. It keeps what it needs alive."""
        with self.cuda.device(self.arrays.device):
            runtime = started(self.trt.Runtime, self.logger)
            plan = self.cache.obtain(self.key, self._build, self.note)
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None and not self._built:
                self.note(f"TensorRT did not take the plan in the cache, built again: {self.logger.last()}")
                plan = self.cache.obtain(self.key, self._build, self.note, refused=plan)
                engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineUnavailable(f"TensorRT does not take its own plan: {self.logger.last()}")
        # What it warned of meanwhile is no reason of what fails later.
        self.logger.last()
        return engine

    def kept(self) -> bool:
        """Whether the plan is on disk, whole and trusted."""
        return self.cache.load(self.key, self.note) is not None

    def _build(self) -> bytes:
        self._built = True
        return build(self)


def build_plan(
    model: bytes | str | PathLike[str],
    *,
    device: str = "cuda:0",
    precision: str = "f32",
    profiles: Mapping[str, Shapes] | None = None,
    cache: PlanCache | None = None,
) -> Path:
    """Build and keep the plan of a graph, so that a `TensorRtEngine` finds it; nothing is run.

    Parameters
    ----------
    model, device, precision, profiles, cache
        As for `TensorRtEngine`; the same ones find the plan.

    Returns
    -------
    Path
        Of the plan, which may have been there before.

    Raises
    ------
    Unreadable
        When it could not be kept.
    EngineUnavailable, ModelError, InvalidArgument
        As for `TensorRtEngine`.
    """
    plan = Plan(model, device=device, precision=precision, profiles=profiles, cache=cache)
    plan.engine()
    if not plan.kept():
        raise Unreadable(f"the plan must be kept: {'; '.join(plan.notes)}", path=str(plan.path))
    return plan.path


def _gpu(device: str, found: DriverProbe) -> Gpu:
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise InvalidArgument(f"device must be 'cuda' or 'cuda:N' for tensorrt, got {device!r}")
    if not found.gpus:
        raise EngineUnavailable(f"tensorrt needs an NVIDIA GPU: {found.reason}")
    index = int(number or 0)
    if index >= len(found.gpus):
        names = ", ".join(f"cuda:{gpu.index} {gpu.name}" for gpu in found.gpus)
        raise EngineUnavailable(f"device must be one of {names}, got {device}")
    return found.gpus[index]


def _major(version: str | None) -> int | None:
    return None if version is None else int(version.split(".", maxsplit=1)[0])


def _read(model: bytes | str | PathLike[str]) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        with open(model, "rb") as file:
            return file.read()
    except OSError as e:
        raise ModelError(f"ONNX graph cannot be read: {e}", path=os.fspath(model)) from e
