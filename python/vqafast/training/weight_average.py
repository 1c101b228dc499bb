"""Exponential moving average of weights, which is validated and kept in their place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn


class WeightAverage:
    """Average of the trained parameters of a module over the steps of its training.

    Step n, from 0 on, keeps ``min(decay, (1 + n) / (10 + n))`` of the old average: at first it reaches over
    the last tenth of all steps, so that a short training forgets its random start.

    Parameters
    ----------
    decay : float
        In [0, 1); 0 keeps no average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._trained = {n: p for n, p in model.named_parameters() if p.requires_grad} if decay > 0 else {}
        #: The average by name of parameter; empty before `start`, and without an average.
        self.values: dict[str, Tensor] = {}

    def start(self, values: Mapping[str, Tensor] | None = None) -> None:
        """Begin with `values` of an earlier process, else with the weights as they are."""
        source = self._trained if values is None else values
        self.values = {n: source[n].detach().to(p.device, copy=True) for n, p in self._trained.items()}

    def update(self, step: int) -> None:
        """Take in the weights after step `step`."""
        with torch.no_grad():
            for name, average in self.values.items():
                average.lerp_(self._trained[name], 1 - min(self._decay, (1 + step) / (10 + step)))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Give the module the average for as long as the block runs."""
        own = {name: self._trained[name].detach().clone() for name in self.values}
        self._assign(self.values)
        try:
            yield
        finally:
            self._assign(own)

    def _assign(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self._trained[name].copy_(value)
