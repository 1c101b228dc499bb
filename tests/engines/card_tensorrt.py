"""TensorRT on the emulated card: its stand-in, with torch's graphs, and quick enough for whole models."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from tests.card_emulation import torch_card

from vqafast.engines.onnx_module import OnnxModule

from .fake_tensorrt import Script, fake_tensorrt


class Evaluator:
    """A graph by torch on the host, as onnx's reference gives it."""

    def __init__(self, graph: Any) -> None:
        self._module = OnnxModule(graph.SerializeToString())

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        given = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._module.input_names]
        with torch.inference_mode():
            made = self._module(*given)
        results = (made,) if isinstance(made, torch.Tensor) else made
        by_name = dict(zip(self._module.output_names, results, strict=True))
        return [by_name[name].numpy() for name in names]


class CardScript(Script):
    """Nothing goes wrong; calls in a capture become part of torch's graph."""

    @property
    def capturing(self) -> Any:
        """What takes calls, while this thread captures."""
        calls = SimpleNamespace(append=torch_card.record)
        return SimpleNamespace(calls=calls) if torch_card.capturing() else None

    @capturing.setter
    def capturing(self, _: Any) -> None:
        pass


def install(monkeypatch: Any) -> None:
    """Put it where the engine looks."""
    script = CardScript(
        local=SimpleNamespace(device="set"),
        capture_stream=lambda: torch_card.current_stream().cuda_stream,
        evaluator=Evaluator,
    )
    module = ModuleType("tensorrt")
    # Torch asks where it comes from.
    module.__spec__ = ModuleSpec("tensorrt", None)
    vars(module).update(vars(fake_tensorrt(script)))
    monkeypatch.setitem(sys.modules, "tensorrt", module)
