"""ONNX operators that are layers: each builder checks attributes and returns a function of the inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as torch's own manual has it

from .onnx_node import FLOAT, Node, Run, ints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Array

_CONV = (F.conv1d, F.conv2d, F.conv3d)
_MAX_POOL = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_AVERAGE_POOL = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def _padded(x: Tensor, pads: Sequence[int] | None, inside: bool, fill: float) -> tuple[Tensor, list[int]]:
    """`x`, and the padding that is left for torch: one number an axis, or after `F.pad` none."""
    rank = x.ndim - 2
    begin, end = ([0] * rank,) * 2 if pads is None else (list(pads[:rank]), list(pads[rank:]))
    if inside and begin == end:
        return x, begin
    sides = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
    return F.pad(x, sides, value=fill), [0] * rank


def _even(pads: Sequence[int] | None) -> bool:
    return pads is None or pads[: len(pads) // 2] == pads[len(pads) // 2 :]


def conv(node: Node) -> Run:
    """Conv of one to three axes, with any pads that are given as numbers."""
    a = node.attributes
    node.only("auto_pad", "NOTSET")
    weight = node.inputs[1]
    if a["kernel_shape"] is not None and isinstance(weight, str) and weight in node.constants:
        node.only("kernel_shape", list(node.constants[weight].shape[2:]))
    pads, group = a["pads"], a["group"]
    stride, dilation = a["strides"] or 1, a["dilations"] or 1

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        x, padding = _padded(x, pads, True, 0.0)
        return _CONV[len(padding) - 1](x, w, b, stride, padding, dilation, group)

    return run


def _pool_pads(node: Node) -> tuple[Sequence[int] | None, bool]:
    """Pads of a pool, and whether torch takes them as they are: on both sides, at most half of the kernel."""
    a = node.attributes
    node.only("auto_pad", "NOTSET")
    ceil = node.only("ceil_mode", 0, 1)
    pads, kernel = a["pads"], a["kernel_shape"]
    inside = _even(pads) and all(2 * p <= k for p, k in zip(pads or (), kernel * 2, strict=False))
    if ceil and not inside:
        # Which windows count at the end depends on what is padding and what is not.
        raise node.refuse(f"pads must be even and small when ceil_mode is 1, got {pads} for {kernel}")
    return pads, inside


def max_pool(node: Node) -> Run:
    """MaxPool; uneven or large pads are made first, with minus infinity."""
    a = node.attributes
    pads, inside = _pool_pads(node)
    node.only("storage_order", 0)
    kernel, ceil = a["kernel_shape"], bool(a["ceil_mode"])
    stride, dilation = a["strides"] or [1] * len(kernel), a["dilations"] or 1

    def run(x: Tensor) -> Tensor:
        x, padding = _padded(x, pads, inside, -torch.inf)
        out: Tensor = _MAX_POOL[len(padding) - 1](x, kernel, stride, padding, dilation, ceil)
        return out

    return run


def average_pool(node: Node) -> Run:
    """AveragePool; uneven or large pads are made first, where they count."""
    a = node.attributes
    pads, inside = _pool_pads(node)
    counted = bool(node.only("count_include_pad", 0, 1))
    if not inside and not counted:
        raise node.refuse(f"pads must be even and small when count_include_pad is 0, got {pads}")
    kernel, ceil = a["kernel_shape"], bool(a["ceil_mode"])
    stride = a["strides"] or [1] * len(kernel)

    def run(x: Tensor) -> Tensor:
        x, padding = _padded(x, pads, inside, 0.0)
        return _AVERAGE_POOL[len(padding) - 1](x, kernel, stride, padding, ceil, counted)

    return run


def global_average_pool(node: Node) -> Run:
    """GlobalAveragePool over all axes but two."""
    del node
    return lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def pad(node: Node) -> Run:
    """Pad with a number, the edge or a reflection; negative pads crop."""
    mode = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}[
        node.only("mode", "constant", "edge", "reflect")
    ]

    def run(x: Tensor, pads: Array, value: Array | None = None) -> Tensor:
        begin, end = ints(pads)[: x.ndim], ints(pads)[x.ndim :]
        sides = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
        # Other modes of torch take pads of the last axes only.
        while sides and sides[-2:] == [0, 0]:
            del sides[-2:]
        fill = None if value is None or mode != "constant" else value.item()
        return F.pad(x, sides, mode, fill) if sides else x

    return run


def resize(node: Node) -> Run:
    """Resize of pictures to sizes, with pixel centres at halves as torch has them."""
    mode = {"cubic": "bicubic", "linear": "bilinear"}[node.only("mode", "cubic", "linear")]
    node.only("coordinate_transformation_mode", "half_pixel")
    node.only("exclude_outside", 0)
    # 32 bits hold it exactly. It and nearest_mode say nothing in other modes.
    node.only("cubic_coeff_a", -0.75)

    def run(x: Tensor, roi: None, scales: None, sizes: Array) -> Tensor:
        del roi, scales
        shape = ints(sizes)
        if x.ndim != 4 or shape[:2] != list(x.shape[:2]):
            raise node.refuse(
                f"only the last two of four axes may be resized, got {tuple(x.shape)} to {shape}"
            )
        return F.interpolate(x, shape[2:], mode=mode, align_corners=False)

    return run


def softmax(node: Node) -> Run:
    """Softmax over one axis."""
    axis = node.attributes["axis"]
    return lambda x: F.softmax(x, axis)


def layer_normalization(node: Node) -> Run:
    """LayerNormalization over the last axes."""
    axis, eps = node.attributes["axis"], node.attributes["epsilon"]
    node.only("stash_type", FLOAT)
    return lambda x, scale, bias=None: F.layer_norm(x, x.shape[axis:], scale, bias, eps)


def batch_normalization(node: Node) -> Run:
    """BatchNormalization in inference, where momentum says nothing."""
    node.only("training_mode", 0)
    eps = node.attributes["epsilon"]
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, eps=eps)


def gemm(node: Node) -> Run:
    """``alpha x y + beta c``."""
    a = node.attributes
    alpha, beta = a["alpha"], a["beta"]
    flip_x, flip_y = bool(a["transA"]), bool(a["transB"])

    def run(x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
        x, y = x.t() if flip_x else x, y.t() if flip_y else y
        if c is None:
            return torch.mul(x @ y, alpha)
        return torch.addmm(c, x, y, beta=beta, alpha=alpha)

    return run


def gru(node: Node) -> Run:
    """GRU of one layer in torch's own form, forwards or both ways, all sequences equally long."""
    node.only("linear_before_reset", 1)
    node.only("layout", 0)
    both = node.only("direction", "forward", "bidirectional") == "bidirectional"
    w, r = node.constant(1), node.constant(2)
    size = r.shape[2]
    node.only("hidden_size", None, size)
    directions = len(w)
    biased = len(node.inputs) > 3 and node.inputs[3] is not None
    b = node.constant(3) if biased else np.zeros((directions, 6 * size), w.dtype)

    def ordered(gates: Array) -> Array:
        update, reset, hidden = np.split(gates, 3)
        return np.concatenate([reset, update, hidden])

    # One piece of memory, matrices before biases: cuDNN's own layout. Of weights that lie elsewhere it
    # makes a copy in every call, with a warning.
    pieces = [ordered(m) for pair in zip(w, r, strict=True) for m in pair]
    pieces += [ordered(bias) for row in b for bias in np.split(row, 2)]
    # Nodes may share a name, their outputs do not.
    name = f" gru weights of {next(filter(None, node.outputs))}"
    node.buffers[name] = np.concatenate([p.reshape(-1) for p in pieces])
    node.inputs[1:4] = [name]
    shapes, sizes = [p.shape for p in pieces], [p.size for p in pieces]
    # torch takes the matrices and biases of a direction together.
    half = len(pieces) // 2
    order = [2 * d + i for d in range(directions) for i in (0, 1, half, half + 1)]

    def run(
        x: Tensor, flat: Tensor, lengths: None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        del lengths
        steps, batch = x.shape[:2]
        parts = torch.split(flat, sizes)
        weights = [parts[i].view(shapes[i]) for i in order]
        if state is None:
            state = x.new_zeros(directions, batch, size)
        y, last = torch.gru(x, state, weights, True, 1, 0.0, False, both, False)
        return y.reshape(steps, batch, directions, size).transpose(1, 2), last

    return run
