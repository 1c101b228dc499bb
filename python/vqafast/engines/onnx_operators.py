"""The ONNX operators that run with torch: elementwise and shape ones, and the table of all."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqafast.errors import InvalidArgument

from . import onnx_layers as layers
from . import onnx_selection as selection
from .onnx_node import DTYPES, FLOAT, ORIGIN, Node, Run, Value, ints

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Array


class Operator(NamedTuple):
    """How an operator is run.

    Attributes
    ----------
    build : callable
        Takes a `Node`, checks the values of its attributes, and returns the function of its inputs.
    places : str
        Of each input: "d" data, "h" shape arithmetic, "." either, "-" must be left out; "*" stands for any
        number of ".".
    attributes : dict
        Name to default, None where there is none; others are refused.
    """

    build: Callable[[Node], Run]
    places: str
    attributes: dict[str, Any]


def _op(build: Callable[[Node], Run], places: str, **attributes: Any) -> Operator:
    return Operator(build, places, attributes)


def _unary(
    on_device: Callable[[Tensor], Tensor], on_host: Callable[[Array], Any] | None = None
) -> Callable[[Node], Run]:
    def build(node: Node) -> Run:
        return on_device if on_host is None or not node.host else on_host

    return build


def _binary(
    on_device: Callable[[Any, Any], Any], on_host: Callable[[Any, Any], Any] | None = None
) -> Callable[[Node], Run]:
    def build(node: Node) -> Run:
        if node.host:
            return on_host or on_device
        for i in range(2):
            node.hold(i)
        return lambda a, b: on_device(node.operand(a, b), node.operand(b, a))

    return build


def _host_div(a: Array, b: Array) -> Any:
    # Integers are divided towards zero.
    return np.trunc(np.true_divide(a, b)).astype(a.dtype) if a.dtype.kind == "i" else np.divide(a, b)


def _device_div(a: Any, b: Any) -> Any:
    whole = all(isinstance(v, int) or (isinstance(v, Tensor) and not v.is_floating_point()) for v in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _mod(node: Node) -> Run:
    node.only("fmod", 0)
    return _binary(operator.mod)(node)


def _where(node: Node) -> Run:
    if node.host:
        return np.where
    if node.on_host[0]:
        raise node.refuse("the condition for data must be data, got shape arithmetic")
    node.inputs.append(ORIGIN)

    def run(condition: Tensor, x: Value, y: Value, origin: Tensor) -> Tensor:
        return torch.where(condition, node.data(x, origin), node.data(y, origin))

    return run


def _clip(node: Node) -> Run:
    del node

    def run(x: Tensor, low: Array | None = None, high: Array | None = None) -> Tensor:
        if low is None and high is None:
            return x
        bounds = [None if b is None else b.item() for b in (low, high)]
        return torch.clamp(x, bounds[0], bounds[1])

    return run


def _cast(node: Node) -> Run:
    to = node.only("to", *DTYPES)
    if node.host:
        return lambda x: x.astype(DTYPES[to])
    whole = {9: torch.bool, 7: torch.int64}.get(node.only("to", FLOAT, 7, 9))
    if whole is not None:
        return lambda x: x.to(whole)
    node.inputs.append(ORIGIN)
    return lambda x, origin: x.to(origin.dtype)


def _shape(node: Node) -> Run:
    node.host = True
    start, end = node.attributes["start"], node.attributes["end"]
    return lambda x: np.array(x.shape[start:end], np.int64)


def _constant_of_shape(node: Node) -> Run:
    value = node.attributes["value"]
    if value.dtype == np.float32:
        node.host = False
        node.inputs.append(ORIGIN)
        fill = value.item()
        return lambda shape, origin: torch.full(ints(shape), fill, dtype=origin.dtype, device=origin.device)
    return lambda shape: np.full(ints(shape), value.item(), value.dtype)


def _range(node: Node) -> Run:
    del node

    def run(start: Array, limit: Array, delta: Array) -> Array:
        first, stop, step = (v.item() for v in (start, limit, delta))
        return np.arange(first, stop, step, dtype=start.dtype)

    return run


def _reshape(node: Node) -> Run:
    keep = not node.only("allowzero", 0, 1)

    def run(x: Any, shape: Array) -> Any:
        return x.reshape([x.shape[i] if keep and s == 0 else s for i, s in enumerate(ints(shape))])

    return run


def _flatten(node: Node) -> Run:
    axis = node.attributes["axis"]

    def run(x: Tensor) -> Tensor:
        # Not -1: an empty tensor has no such size.
        at = axis + x.ndim if axis < 0 else axis
        return x.reshape(x.shape[:at].numel(), x.shape[at:].numel())

    return run


def _squeeze(node: Node) -> Run:
    del node

    def run(x: Any, axes: Array | None = None) -> Any:
        gone = [i for i, s in enumerate(x.shape) if s == 1] if axes is None else ints(axes)
        gone = [a % x.ndim for a in gone]
        if any(x.shape[a] != 1 for a in gone):
            raise InvalidArgument(f"onnx: axes to squeeze must be of size 1, got {gone} of {tuple(x.shape)}")
        return x.reshape([s for i, s in enumerate(x.shape) if i not in gone])

    return run


def _unsqueeze(node: Node) -> Run:
    del node

    def run(x: Any, axes: Array) -> Any:
        rank = x.ndim + axes.size
        new = {a % rank for a in ints(axes)}
        old = iter(x.shape)
        return x.reshape([1 if i in new else next(old) for i in range(rank)])

    return run


def _transpose(node: Node) -> Run:
    perm = node.attributes["perm"]
    if node.host:
        return lambda x: np.transpose(x, perm)
    return lambda x: x.permute(perm if perm is not None else tuple(reversed(range(x.ndim))))


def _expand(node: Node) -> Run:
    expand = np.broadcast_to if node.host else torch.broadcast_to
    return lambda x, shape: expand(x, np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


def _concat(node: Node) -> Run:
    axis = node.attributes["axis"]
    if node.host:
        return lambda *parts: np.concatenate(parts, axis)
    node.inputs.append(ORIGIN)
    return lambda *parts: torch.cat([node.data(p, parts[-1]) for p in parts[:-1]], axis)


def _split(node: Node) -> Run:
    axis, count = node.attributes["axis"], len(node.outputs)

    def run(x: Any, sizes: Array | None = None) -> Any:
        length = x.shape[axis]
        parts = [length // count] * count if sizes is None else ints(sizes)
        if sum(parts) != length or len(parts) != count:
            raise InvalidArgument(f"onnx: {count} parts must be cut out of {length} elements, got {parts}")
        if isinstance(x, Tensor):
            return torch.split(x, parts, axis)
        return np.split(x, np.cumsum(parts)[:-1], axis)

    return run


def _slice(node: Node) -> Run:
    del node

    def run(x: Any, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Any:
        where: list[slice] = [slice(None)] * x.ndim
        flipped = []
        for i, (start, end) in enumerate(zip(ints(starts), ints(ends), strict=True)):
            axis = i if axes is None else int(axes[i]) % x.ndim
            step = 1 if steps is None else int(steps[i])
            where[axis] = slice(start, end, step)
            if step < 0 and isinstance(x, Tensor):
                # torch counts forwards only.
                taken = range(*where[axis].indices(x.shape[axis]))
                where[axis] = slice(taken[-1], taken[0] + 1, -step) if taken else slice(0, 0)
                flipped.append(axis)
        return x[tuple(where)].flip(flipped) if flipped else x[tuple(where)]

    return run


def _reduce(on_device: Callable[..., Tensor], on_host: Run) -> Callable[[Node], Run]:
    def build(node: Node) -> Run:
        a = node.attributes
        fixed, keep, noop = a["axes"], bool(a["keepdims"]), a["noop_with_empty_axes"]

        def run(x: Any, axes: Array | None = None) -> Any:
            given = fixed if axes is None else ints(axes)
            if not given and noop:
                return x
            dims = tuple(given or range(x.ndim))
            if isinstance(x, Tensor):
                return on_device(x, dim=dims, keepdim=keep)
            return on_host(x, axis=dims, keepdims=keep)

        return run

    return build


_WINDOW = {"auto_pad": "NOTSET", "kernel_shape": None, "pads": None, "strides": None}
_POOL = {**_WINDOW, "ceil_mode": 0}
_REDUCE = {"axes": None, "keepdims": 1, "noop_with_empty_axes": 0}
_ZERO = np.zeros(1, np.float32)

OPERATORS: dict[str, Operator] = {
    "Abs": _op(_unary(torch.abs, np.abs), "."),
    "Add": _op(_binary(operator.add), ".."),
    "And": _op(_binary(operator.and_), ".."),
    "AveragePool": _op(layers.average_pool, "d", **_POOL, count_include_pad=0),
    "BatchNormalization": _op(
        layers.batch_normalization, "ddddd", epsilon=1e-5, momentum=0.9, training_mode=0
    ),
    "Cast": _op(_cast, ".", to=None),
    "Ceil": _op(_unary(torch.ceil, np.ceil), "."),
    "Clip": _op(_clip, "dhh"),
    "Concat": _op(_concat, "*", axis=None),
    "ConstantOfShape": _op(_constant_of_shape, "h", value=_ZERO),
    "Conv": _op(layers.conv, "ddd", **_WINDOW, dilations=None, group=1),
    "Div": _op(_binary(_device_div, _host_div), ".."),
    "Equal": _op(_binary(operator.eq), ".."),
    "Erf": _op(_unary(torch.erf), "d"),
    "Exp": _op(_unary(torch.exp), "d"),
    "Expand": _op(_expand, ".h"),
    "Flatten": _op(_flatten, "d", axis=1),
    "Floor": _op(_unary(torch.floor, np.floor), "."),
    "GRU": _op(
        layers.gru, "dddd-d", direction="forward", hidden_size=None, layout=0, linear_before_reset=0
    ),
    "Gather": _op(selection.gather, "..", axis=0),
    "GatherElements": _op(selection.gather_elements, "d.", axis=0),
    "Gemm": _op(layers.gemm, "ddd", alpha=1.0, beta=1.0, transA=0, transB=0),
    "GlobalAveragePool": _op(layers.global_average_pool, "d"),
    "Greater": _op(_binary(operator.gt), ".."),
    "GreaterOrEqual": _op(_binary(operator.ge), ".."),
    "Identity": _op(_unary(lambda x: x, lambda x: x), "."),
    "LayerNormalization": _op(layers.layer_normalization, "ddd", axis=-1, epsilon=1e-5, stash_type=1),
    "Less": _op(_binary(operator.lt), ".."),
    "LessOrEqual": _op(_binary(operator.le), ".."),
    "Log": _op(_unary(torch.log), "d"),
    "MatMul": _op(_binary(operator.matmul), "dd"),
    "MaxPool": _op(layers.max_pool, "d", **_POOL, dilations=None, storage_order=0),
    "Mod": _op(_mod, "..", fmod=0),
    "Mul": _op(_binary(operator.mul), ".."),
    "Neg": _op(_unary(torch.neg, np.negative), "."),
    "Not": _op(_unary(torch.logical_not, np.logical_not), "."),
    "Or": _op(_binary(operator.or_), ".."),
    "Pad": _op(layers.pad, "dhh", mode="constant"),
    "Pow": _op(_binary(operator.pow), ".."),
    "Range": _op(_range, "hhh"),
    "Reciprocal": _op(_unary(torch.reciprocal, np.reciprocal), "."),
    "ReduceL2": _op(_reduce(selection.norm, np.linalg.norm), "dh", **_REDUCE),
    "ReduceMax": _op(_reduce(torch.amax, np.max), ".h", **_REDUCE),
    "ReduceMean": _op(_reduce(torch.mean, np.mean), ".h", **_REDUCE),
    "ReduceMin": _op(_reduce(torch.amin, np.min), ".h", **_REDUCE),
    "ReduceProd": _op(_reduce(torch.prod, np.prod), "hh", **_REDUCE),
    "ReduceSum": _op(_reduce(torch.sum, np.sum), ".h", **_REDUCE),
    "Relu": _op(_unary(torch.relu), "d"),
    "Reshape": _op(_reshape, ".h", allowzero=0),
    "Resize": _op(
        layers.resize, "d--h", coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75,
        exclude_outside=0, mode="nearest", nearest_mode="round_prefer_floor",
    ),
    "Shape": _op(_shape, ".", start=0, end=None),
    "Sigmoid": _op(_unary(torch.sigmoid), "d"),
    "Sign": _op(_unary(torch.sign, np.sign), "."),
    "Slice": _op(_slice, ".hhhh"),
    "Softmax": _op(layers.softmax, "d", axis=-1),
    "Split": _op(_split, ".h", axis=0),
    "Sqrt": _op(_unary(torch.sqrt, np.sqrt), "."),
    "Squeeze": _op(_squeeze, ".h"),
    "Sub": _op(_binary(operator.sub), ".."),
    "TopK": _op(selection.top_k, "dh", axis=-1, largest=1, sorted=1),
    "Tanh": _op(_unary(torch.tanh), "d"),
    "Transpose": _op(_transpose, ".", perm=None),
    "Unsqueeze": _op(_unsqueeze, ".h"),
    "Where": _op(_where, "..."),
}  # fmt: skip
