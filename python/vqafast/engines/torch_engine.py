"""A torch module behind the `Engine` protocol: the reference that other engines are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqafast.errors import EngineUnavailable, InvalidArgument

from .base import Array, check_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


class TorchEngine:
    """Runs `module` in evaluation mode, float32, without gradients, on the module's device.

    Parameters
    ----------
    module : torch.nn.Module
        Takes the inputs in order; returns a tensor, or a sequence of tensors.
    inputs, outputs : sequence of str
        Their names, in order.

    Raises
    ------
    EngineUnavailable
        When torch cannot be imported.
    """

    def __init__(self, module: torch.nn.Module, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        try:
            import torch
        except ImportError as e:
            raise EngineUnavailable(f"torch cannot be imported: {e}") from e
        self._torch = torch
        self._module = module.eval()
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    @property
    def name(self) -> str:
        """Library and version."""
        return f"torch {self._torch.__version__}"

    @property
    def precision(self) -> str:
        """What it computes in."""
        return "f32"

    @property
    def threads(self) -> int:
        """Threads in use; 0 when the library decides."""
        return int(self._torch.get_num_threads())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names, in graph order."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output; see `Engine.run`."""
        check_inputs(self.name, self._inputs, inputs)
        torch = self._torch
        parameter = next(self._module.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        with torch.inference_mode():
            result = self._module(*(torch.from_numpy(inputs[n]).to(device) for n in self._inputs))
        tensors = [result] if isinstance(result, torch.Tensor) else list(result)
        if len(tensors) != len(self._outputs):
            raise InvalidArgument(
                f"{self.name}: module must return {len(self._outputs)} tensors, got {len(tensors)}"
            )
        return {n: t.cpu().numpy() for n, t in zip(self._outputs, tensors, strict=True)}
