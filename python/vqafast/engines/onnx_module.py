"""Our exported ONNX graphs as torch modules, for devices that OpenVINO does not run on."""

from __future__ import annotations

import os
import re
from collections import Counter
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from torch import Tensor, nn

from vqafast.errors import InvalidArgument, ModelError, Unsupported, VqafastError

from .base import first_line
from .onnx_node import DTYPES, FLOAT, ORIGIN, Node, Run
from .onnx_operators import OPERATORS

if TYPE_CHECKING:
    from .base import Array

OPSETS = (17, 18)
_DOUBLE = 11
_CONSTANT = ("value", "value_float", "value_floats", "value_int", "value_ints")
_SEVERAL_OUTPUTS = ("GRU", "Split", "TopK")


class OnnxModule(nn.Module):
    """An ONNX graph, run operator by operator with torch.

    Takes what ``torch.onnx.export`` with ``dynamo=False`` makes of our models: float32, opset 17, any
    dynamic axes. ``.to(device)`` and ``.half()`` move everything the graph computes with. Shapes are computed
    on the host and nothing is read back from the device, so that calls do not wait for it and a CUDA graph
    can be captured, after a call with the same shapes as warm-up. Calls share no state but the weights.

    In half, lone numbers of the graph keep all their digits (``x + 1e-5`` adds 1e-5, not the nearest half,
    which is subnormal), and every operator's result is rounded: above 65504 it is infinite, and a number
    that is too small beside the other summand changes nothing.

    Parameters
    ----------
    model : bytes or path
        ONNX graph with its weights inside.

    Attributes
    ----------
    input_names, output_names : tuple of str
        In graph order.

    Raises
    ------
    ModelError
        When the graph cannot be read, or is not valid ONNX.
    Unsupported
        For an operator, attribute, opset or type that is not implemented; names what is.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    origin: Tensor

    def __init__(self, model: bytes | str | PathLike[str]) -> None:
        super().__init__()
        try:
            graph = _read(model)
            plan = _Plan(graph)
        except VqafastError as e:
            e.path = None if isinstance(model, bytes) else os.fspath(model)
            raise
        self._dims = {i.name: _dims(i) for i in graph.input}
        self.input_names = tuple(self._dims)
        self.output_names = tuple(o.name for o in graph.output)
        self._steps = plan.steps
        self.register_buffer("origin", torch.zeros(()), persistent=False)
        self._buffer_names = {ORIGIN: "origin"}
        for name in dict.fromkeys(i for step in self._steps for i in step.inputs if isinstance(i, str)):
            if name in plan.constants:
                self._buffer_names[name] = self._hold(name, plan.constants[name])

    def _hold(self, name: str, array: Array) -> str:
        """Register a buffer under a name that is as near as possible to that in the graph."""
        attribute = re.sub(r"\W+", "_", name).strip("_") or "constant"
        while hasattr(self, attribute):
            attribute += "_"
        self.register_buffer(attribute, torch.from_numpy(array.copy()))
        return attribute

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute every output.

        Parameters
        ----------
        *inputs : Tensor
            In the order of `input_names`, with the module's dtype and device.

        Returns
        -------
        tuple of Tensor
            In the order of `output_names`. They may be views with any strides.

        Raises
        ------
        InvalidArgument
            When an input has another dtype, device or shape than the graph takes, or one is missing.
        Unsupported
            When these shapes would have to be copied to the device as data.
        """
        self._check(inputs)
        values: dict[str, Any] = {n: self.get_buffer(b) for n, b in self._buffer_names.items()}
        values.update(zip(self.input_names, inputs, strict=True))
        for step in self._steps:
            given = [values[i] if isinstance(i, str) else i for i in step.inputs]
            values.update(zip(step.outputs, step(given), strict=False))
            for name in step.last:
                values.pop(name, None)
        return tuple(values[name] for name in self.output_names)

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs) != len(self.input_names):
            raise InvalidArgument(f"onnx: inputs must be {list(self.input_names)}, got {len(inputs)} tensors")
        for (name, dims), x in zip(self._dims.items(), inputs, strict=True):
            if x.dtype != self.origin.dtype or x.device != self.origin.device:
                raise InvalidArgument(
                    f"onnx: input {name!r} must be {self.origin.dtype} on {self.origin.device} as the module "
                    f"is, got {x.dtype} on {x.device}"
                )
            if len(dims) != x.ndim or any(d not in (None, s) for d, s in zip(dims, x.shape, strict=True)):
                want = ", ".join("any" if d is None else str(d) for d in dims)
                raise InvalidArgument(f"onnx: input {name!r} must be ({want}), got {tuple(x.shape)}")


class _Step(NamedTuple):
    """A function, its inputs as in `Node`, and whose last use this is."""

    run: Run
    inputs: tuple[str | Array | None, ...]
    outputs: tuple[str, ...]
    host: bool
    last: tuple[str, ...] = ()

    def __call__(self, inputs: list[Any]) -> tuple[Any, ...]:
        made = self.run(*inputs)
        several = made if isinstance(made, tuple | list) else (made,)
        # NumPy makes scalars of arrays without axes.
        return tuple(map(np.asarray, several)) if self.host else tuple(several)


class _Plan:
    """Turns nodes into steps; what needs no data is computed here.

    Attributes
    ----------
    constants : dict of str to ndarray
    steps : tuple of _Step
    """

    def __init__(self, graph: Any) -> None:
        self.constants: dict[str, Array] = {t.name: _array(t, t.name) for t in graph.initializer}
        self._on_host: dict[str, bool] = {i.name: False for i in graph.input}
        self._steps: list[_Step] = []
        self._uses = Counter(i for proto in graph.node for i in proto.input)
        self._uses.update(o.name for o in graph.output)
        for proto in graph.node:
            if proto.op_type == "Constant":
                self.constants[proto.output[0]] = _constant(proto)
            else:
                self._add(proto)
        self.steps = tuple(self._freeing({o.name for o in graph.output}))

    def _add(self, proto: Any) -> None:
        inputs = [self._input(i, place, proto) for i, place in zip(proto.input, _places(proto), strict=False)]
        on_host = tuple(not isinstance(i, str) or self._on_host.get(i, False) for i in inputs)
        node = Node(
            _name(proto), proto.op_type, _attributes(proto), inputs, tuple(proto.output), on_host,
            all(on_host), self.constants, {},
        )  # fmt: skip
        run = OPERATORS[proto.op_type].build(node)
        self.constants.update(node.buffers)
        # The function may keep the node; it must not keep every weight.
        node.constants, node.buffers = {}, {}
        step = _Step(run, tuple(node.inputs), node.outputs, node.host)
        if node.host and not any(isinstance(i, str) for i in step.inputs):
            self.constants.update(zip(step.outputs, step(list(step.inputs)), strict=True))
            return
        if not node.host and self._fold(step):
            return
        self._on_host.update(dict.fromkeys(step.outputs, node.host))
        self._steps.append(step)

    def _fold(self, step: _Step) -> bool:
        """Run a step that needs weights alone, and keep what it gives in their place.

        Only floats: other data could be taken for shape arithmetic afterwards.
        """
        names = [i for i in step.inputs if isinstance(i, str) and i != ORIGIN]
        if not names or any(name not in self.constants for name in names):
            return False
        known = {name: torch.from_numpy(np.require(self.constants[name], requirements="W")) for name in names}
        known[ORIGIN] = torch.zeros(())
        made = step([known[i] if isinstance(i, str) else i for i in step.inputs])
        if any(t.dtype != torch.float32 for t in made):
            return False
        self.constants.update({n: t.numpy() for n, t in zip(step.outputs, made, strict=False)})
        for name in names:
            # Biases of windows are several times as large as all weights.
            self._uses[name] -= 1
            if not self._uses[name]:
                del self.constants[name]
        return True

    def _input(self, name: str, place: str, proto: Any) -> str | Array | None:
        """Put an input where the operator wants it, as far as that is possible."""
        if not name:
            return None
        wrong = f"onnx: {proto.op_type}: input {name!r} in node {_name(proto)} must "
        if place == "-":
            raise Unsupported(wrong + "be left out")
        if name in self.constants:
            array = self.constants[name]
            data = array.dtype == np.float32
            if place == "d" and not data:
                raise Unsupported(f"{wrong}be float32 data, got {array.dtype}")
            return array if place == "h" or not data or (place == "." and array.size == 1) else name
        if place == "h" and not self._on_host[name]:
            raise Unsupported(wrong + "follow from shapes and constants, is computed from data")
        if place == "d" and self._on_host[name]:
            raise Unsupported(wrong + "be data, is computed from shapes")
        return name

    def _freeing(self, outputs: set[str]) -> list[_Step]:
        """Steps in order, each with the values that nothing after it needs."""
        for name in outputs:
            if self._on_host.get(name, name in self.constants):
                raise Unsupported(f"onnx: output {name!r} must be computed from data, follows from shapes")
        seen = {*outputs, *self.constants, ORIGIN}
        done: list[_Step] = []
        for step in reversed(self._steps):
            names = {*step.outputs, *(i for i in step.inputs if isinstance(i, str))}
            done.append(step._replace(last=tuple(names - seen)))
            # An output without a name is never needed.
            seen |= names - {""}
        return done[::-1]


def _read(model: bytes | str | PathLike[str]) -> Any:
    """Parse and check; give the graph."""
    try:
        if isinstance(model, bytes):
            proto = onnx.load_model_from_string(model)
        else:
            proto = onnx.load(os.fspath(model))
    except (OSError, DecodeError, onnx.checker.ValidationError) as e:
        raise ModelError(f"ONNX graph cannot be read: {first_line(e)}") from e
    graph = proto.graph
    if not proto.ir_version or not graph.output:
        raise ModelError("ONNX graph cannot be read: there is no graph in it")
    opsets = {o.domain: o.version for o in proto.opset_import}
    if list(opsets) != [""] or opsets[""] not in OPSETS:
        raise Unsupported(f"onnx: opset must be one of {list(OPSETS)}, got {opsets}")
    for node in graph.node:
        known = ("Constant", *OPERATORS) if node.domain in ("", "ai.onnx") else ()
        if node.op_type not in known:
            names = ", ".join(sorted(("Constant", *OPERATORS)))
            got = f"{node.domain}.{node.op_type}".lstrip(".")
            raise Unsupported(f"onnx: operator must be one of {names}, got {got} in node {_name(node)}")
        _check_form(node)
    for output in graph.output:
        # Only the checker wants them to have one.
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as e:
        raise ModelError(f"ONNX graph is not valid: {first_line(e)}") from e
    _check_types(graph)
    return graph


def _check_form(proto: Any) -> None:
    """Refuse attributes, inputs and outputs that nothing would look at."""
    kind, known, most = proto.op_type, list(_CONSTANT), 0
    if kind != "Constant":
        known, most = list(OPERATORS[kind].attributes), len(_places(proto))
    for attribute in proto.attribute:
        if attribute.name not in known:
            raise Unsupported(
                f"onnx: attributes of {kind} must be of {known}, got {attribute.name} in node {_name(proto)}"
            )
    if any(proto.input[most:]) or (kind not in _SEVERAL_OUTPUTS and any(proto.output[1:])):
        raise Unsupported(
            f"onnx: {kind} must have at most {most} inputs and one output, got {list(proto.input)} and "
            f"{list(proto.output)} in node {_name(proto)}"
        )


def _check_types(graph: Any) -> None:
    constants = {t.name for t in graph.initializer}
    if len(graph.sparse_initializer):
        raise Unsupported("onnx: initializers must be dense, got sparse ones")
    for kind, value in [("input", i) for i in graph.input] + [("output", o) for o in graph.output]:
        got = value.type.tensor_type.elem_type
        if got != FLOAT:
            text = onnx.TensorProto.DataType.Name(got)
            raise Unsupported(f"onnx: {kind} {value.name!r} must be FLOAT, got {text}")
        if kind == "input" and value.name in constants:
            raise Unsupported(f"onnx: input {value.name!r} must not have a default")


def _dims(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _name(proto: Any) -> str:
    return str(proto.name or next(filter(None, proto.output), ""))


def _places(proto: Any) -> str:
    """Where each input must be; see `Operator`."""
    return OPERATORS[proto.op_type].places.replace("*", "." * len(proto.input))


def _attributes(proto: Any) -> dict[str, Any]:
    """Values by name with defaults filled in; bytes become str, tensors arrays."""
    found = dict(OPERATORS[proto.op_type].attributes)
    for a in proto.attribute:
        value = onnx.helper.get_attribute_value(a)
        if isinstance(value, onnx.TensorProto):
            value = _array(value, f"{a.name} of {_name(proto)}")
        found[a.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _constant(proto: Any) -> Array:
    (attribute,) = proto.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _array(value, _name(proto))
    return np.asarray(value, np.float32 if "float" in attribute.name else np.int64)


def _array(tensor: Any, name: str) -> Array:
    if tensor.data_type == _DOUBLE:
        # Scales and small numbers that torch writes so; graphs have no other use for the type.
        return np.asarray(onnx.numpy_helper.to_array(tensor), np.float32)
    if tensor.data_type not in DTYPES:
        names = [onnx.TensorProto.DataType.Name(t) for t in DTYPES]
        got = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise Unsupported(f"onnx: constants must be of type {names}, got {got} in {name!r}")
    array: Array = onnx.numpy_helper.to_array(tensor)
    return array
