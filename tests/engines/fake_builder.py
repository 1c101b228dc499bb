"""The half of the stand-in for tensorrt that builds: a plan is the graph, behind its profiles."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .fake_tensorrt import Script

HEADER = b"PLAN"


def packed(profiles: list[Any], graph: bytes) -> bytes:
    return HEADER + json.dumps(profiles).encode() + b"\n" + graph


def unpacked(plan: bytes) -> tuple[list[Any], bytes]:
    profiles, _, graph = plan[len(HEADER) :].partition(b"\n")
    return json.loads(profiles), graph


def builder_half(
    script: Script, inputs_of: Callable[[bytes], list[Any]], registered: Callable[[Any], Any], levels: Any
) -> dict[str, Any]:
    """Classes and enums by name. `registered` keeps a logger, and gives what tells the one that counts."""

    class INetworkDefinition:
        def __init__(self, flags: int) -> None:
            self._flags = flags
            self._graph = b""

        @property
        def num_inputs(self) -> int:
            return len(inputs_of(self._graph))

        def get_input(self, index: int) -> Any:
            return inputs_of(self._graph)[index]

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network = network

        @property
        def num_errors(self) -> int:
            return len(script.parse_errors)

        def get_error(self, index: int) -> Any:
            return script.parse_errors[index]

        def parse(self, model: bytes) -> bool:
            if script.parse_errors:
                return False
            self._network._graph = model
            return True

    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
            if "set_shape" in script.refuse:
                raise RuntimeError("Shape provided for min is inconsistent with other shapes.")
            self._shapes[input] = (min, opt, max)

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> bytes:
            return self._data + b"+"

    class IProgressMonitor:
        def __init__(self) -> None:
            pass

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            raise NotImplementedError

        def step_complete(self, phase_name: str, step: int) -> bool:
            raise NotImplementedError

        def phase_finish(self, phase_name: str) -> None:
            raise NotImplementedError

    class IBuilderConfig:
        builder_optimization_level = -1
        progress_monitor: Any = None

        def __init__(self) -> None:
            self._flags = {"TF32"}
            self._pools: dict[str, int] = {}
            self._profiles: list[Any] = []
            self._timing: ITimingCache | None = None
            self._previews: set[str] = set()

        def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
            self._pools[pool] = pool_size

        def clear_flag(self, flag: str) -> None:
            self._flags.remove(flag)

        def set_preview_feature(self, feature: str, enable: bool) -> None:
            assert enable
            self._previews.add(feature)

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile._shapes)
            return -1 if "add" in script.refuse else len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
            spoilt = "timing" in script.refuse and serialized_timing_cache
            return None if spoilt else ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            if script.timing_mismatch and cache._data:
                return False
            self._timing = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return None if "no timing" in script.refuse else self._timing

    class Builder:
        def __init__(self, logger: Any) -> None:
            if "builder" in script.refuse:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._tell = registered(logger)

        def create_network(self, flags: int) -> INetworkDefinition:
            return INetworkDefinition(flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            assert script.local.device == "set"
            self._tell(levels.WARNING, "a warning")
            self._tell(levels.INFO, "chatter")
            for step in range(script.steps):
                script.step()
                self._tell(levels.INFO, "chatter")
                if not config.progress_monitor.step_complete("Tactics", step):
                    self._tell(levels.ERROR, "cancelled")
                    script.cancelled += 1
                    return None
                time.sleep(0.01)
            if script.build_error is not None:
                self._tell(levels.ERROR, script.build_error)
                return None
            script.built.append(
                SimpleNamespace(
                    graph=network._graph,
                    network_flags=network._flags,
                    level=config.builder_optimization_level,
                    flags=config._flags,
                    pools=config._pools,
                    profiles=config._profiles,
                    timing=config._timing._data,
                    previews=config._previews,
                    thread=threading.current_thread(),
                )
            )
            return packed(config._profiles, network._graph)

    classes = (
        Builder, INetworkDefinition, OnnxParser, IOptimizationProfile, ITimingCache, IBuilderConfig,
        IProgressMonitor,
    )  # fmt: skip
    resize = "RUNTIME_ACTIVATION_RESIZE_10_10"
    return {
        "BuilderFlag": SimpleNamespace(TF32="TF32"),
        "MemoryPoolType": SimpleNamespace(WORKSPACE="WORKSPACE"),
        "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=1),
        "PreviewFeature": SimpleNamespace(**{resize: resize}),
        **{kind.__name__: kind for kind in classes},
    }
