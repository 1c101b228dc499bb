"""TensorRT plans: the one in the cache, or built from an ONNX graph for the GPU that is there."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError, Unreadable

from .arrays import TorchArrays
from .base import Shapes
from .cuda_driver import probe
from .half_graph import half_graph
from .tensorrt_cache import PlanCache, PlanKey
from .tensorrt_library import collector, library, started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from pathlib import Path

    from .cuda_driver import DriverProbe, Gpu

#: Raised when the code below makes other plans from the same key.
BUILDER_VERSION = 1
#: TensorRT's own default, stated so that a new default is a new key.
OPTIMIZATION_LEVEL = 3
#: What kernels may use for themselves: a quarter of the free memory, and no more than this.
MAX_WORKSPACE = 4 << 30
_PRECISIONS = ("f32", "f16")


class Plan:
    """One graph for one GPU, in one precision; see `TensorRtEngine` for parameters and errors.

    Attributes
    ----------
    trt : module
    logger : ILogger
        With `last()`, what TensorRT complained about since that was asked before.
    arrays : TorchArrays
    key : PlanKey
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
        shapes = {name: _ordered(name, profile) for name, profile in (profiles or {}).items()}
        found = probe()
        gpu = _gpu(device, found)
        self.trt = library()
        self.arrays = TorchArrays(device)
        self.logger = collector(self.trt)
        self.notes: list[str] = []
        self._cache = PlanCache() if cache is None else cache
        self._path = None if isinstance(model, bytes) else os.fspath(model)
        self._graph = _read(model)
        if precision == "f16":
            self._graph = half_graph(self._graph)
        import torch

        self._cuda = torch.cuda
        self._built = False
        self.key = PlanKey(
            onnx_sha256=hashlib.sha256(self._graph).hexdigest(),
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
        return self._cache.path(self.key)

    def note(self, text: str) -> None:
        """Add to `notes`, once."""
        if text not in self.notes:
            self.notes.append(text)

    def engine(self) -> Any:
        """Give the ICudaEngine: from the cache, else built. It keeps what it needs alive."""
        with self._cuda.device(self.arrays.device):
            runtime = started(self.trt.Runtime, self.logger)
            plan = self._cache.obtain(self.key, self._build, self.note)
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None and not self._built:
                self.note(f"TensorRT did not take the plan in the cache, built again: {self.logger.last()}")
                plan = self._cache.obtain(self.key, self._build, self.note, refused=plan)
                engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineUnavailable(f"TensorRT does not take its own plan: {self.logger.last()}")
        # Warnings of the build are no reason of what fails later.
        self.logger.last()
        return engine

    def kept(self) -> bool:
        """Whether the plan is on disk, whole and trusted."""
        return self._cache.load(self.key, self.note) is not None

    def _build(self) -> bytes:
        self._built = True
        trt = self.trt
        builder = started(trt.Builder, self.logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse(self._graph):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ModelError(
                f"TensorRT cannot read the ONNX graph: {errors or self.logger.last()}", path=self._path
            )
        config = builder.create_builder_config()
        config.builder_optimization_level = OPTIMIZATION_LEVEL
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self._workspace())
        # TensorRT's default would round the inputs of f32 products to 10 bits.
        config.clear_flag(trt.BuilderFlag.TF32)
        self._add_profile(builder, network, config)
        self._set_timing_cache(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineUnavailable(
                f"TensorRT cannot build this graph for {self.key.gpu}: {self.logger.last()}", path=self._path
            )
        times = config.get_timing_cache().serialize()
        if times is not None:
            self._cache.store_timing(self.key, bytes(times))
        return bytes(plan)

    def _workspace(self) -> int:
        free, _ = self._cuda.mem_get_info()
        return min(int(free) // 4, MAX_WORKSPACE)

    def _add_profile(self, builder: Any, network: Any, config: Any) -> None:
        profiles = self.key.profiles
        tensors = [network.get_input(i) for i in range(network.num_inputs)]
        forms = {tensor.name: tuple(tensor.shape) for tensor in tensors}
        if unknown := sorted(set(profiles) - set(forms)):
            raise InvalidArgument(f"tensorrt: shapes must be of inputs {sorted(forms)}, got {unknown}")
        if missing := sorted(name for name, form in forms.items() if -1 in form and name not in profiles):
            raise InvalidArgument(
                f"tensorrt: inputs with dynamic dimensions need shapes, got none for {missing}"
            )
        profile = builder.create_optimization_profile()
        for name, shapes in profiles.items():
            three = (shapes.smallest, shapes.usual, shapes.largest)
            if not all(_fits(shape, forms[name]) for shape in three):
                raise InvalidArgument(
                    f"tensorrt: shapes of input {name!r} must have the form {forms[name]}, got {three}"
                )
            profile.set_shape(name, *three)
        if profiles and config.add_optimization_profile(profile) < 0:
            raise InvalidArgument(f"tensorrt: shapes were not taken: {self.logger.last()}")

    def _set_timing_cache(self, config: Any) -> None:
        timing = config.create_timing_cache(self._cache.timing(self.key))
        if not config.set_timing_cache(timing, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)


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


def _ordered(name: str, profile: Shapes) -> Shapes:
    shapes = Shapes(*(tuple(int(d) for d in s) for s in (profile.smallest, profile.usual, profile.largest)))
    rank = len(shapes.smallest)
    triples = zip(shapes.smallest, shapes.usual, shapes.largest, strict=False)
    if {len(shapes.usual), len(shapes.largest)} != {rank} or not all(1 <= a <= b <= c for a, b, c in triples):
        raise InvalidArgument(
            f"tensorrt: shapes of input {name!r} must have 1 <= smallest <= usual <= largest, got {shapes}"
        )
    return shapes


def _fits(shape: tuple[int, ...], form: tuple[int, ...]) -> bool:
    return len(shape) == len(form) and all(f in (-1, d) for f, d in zip(form, shape, strict=True))


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
