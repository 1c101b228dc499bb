"""ONNX operators that choose by index: where indices are data, they stay on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .onnx_node import Node, Run, ints

if TYPE_CHECKING:
    from .base import Array


# Constant indices up to here are taken as views; more are better on the device.
_VIEWS = 64


def gather(node: Node) -> Run:
    """``Gather``: slices of `x` along an axis."""
    axis = node.attributes["axis"]
    if node.host:
        return lambda x, index: np.take(x, index, axis)
    index = node.inputs[1]
    if isinstance(index, np.ndarray) and index.size > _VIEWS:
        node.hold(1)
    if isinstance(node.inputs[1], str) and (not node.on_host[1] or index is not node.inputs[1]):
        node.hold(0)

        def select(x: Tensor, index: Tensor) -> Tensor:
            at = axis % x.ndim
            taken = torch.index_select(x, at, index.reshape(-1))
            return taken.reshape(*x.shape[:at], *index.shape, *x.shape[at + 1 :])

        return select

    def run(x: Tensor, index: Array) -> Tensor:
        # Views, as an index on the device would be a copy from host memory.
        at = axis % x.ndim
        parts = [x.select(at, i) for i in ints(index)]
        if index.ndim == 0:
            return parts[0]
        shape = (*x.shape[:at], *index.shape, *x.shape[at + 1 :])
        return torch.stack(parts, at).reshape(shape) if parts else x.new_empty(shape)

    return run


def gather_elements(node: Node) -> Run:
    """``GatherElements``: one element for each index."""
    axis = node.attributes["axis"]
    node.hold(1)
    return lambda x, index: torch.gather(x, axis, index)


def top_k(node: Node) -> Run:
    """``TopK``: values and indices; of equals the first ones, as ONNX says and `torch.topk` does not."""
    axis, largest = node.attributes["axis"], bool(node.attributes["largest"])
    node.only("sorted", 1)

    def run(x: Tensor, k: Array) -> tuple[Tensor, Tensor]:
        values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
        count = int(k.reshape(-1)[0])
        return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)

    return run


def norm(x: Any, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    """``ReduceL2``."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)
    return length
