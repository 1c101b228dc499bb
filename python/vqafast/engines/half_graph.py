"""An f32 ONNX graph in half precision: what a strongly typed TensorRT network takes its types from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import EngineUnavailable, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator


def loaded_onnx(model: bytes, asker: str) -> tuple[Any, Any]:
    """Give the onnx package, and the model that it reads for `asker`.

    Raises
    ------
    EngineUnavailable
        When the package is not installed.
    ModelError
        When the graph cannot be read.
    """
    try:
        import onnx
    except ImportError as e:
        raise EngineUnavailable(f"{asker} needs the onnx package: {e}; pip install onnx") from e
    try:
        return onnx, onnx.load_from_string(model)
    except Exception as e:  # protobuf's own error has no public name
        raise ModelError(f"ONNX graph cannot be read: {e}") from e


def half_graph(model: bytes) -> bytes:
    """Make every float of a graph half: weights, constants, casts, inputs and outputs.

    Integers and doubles stay, and so do constants that an operator takes in f32 only (the scales of
    Resize). Nothing else changes: no casts are added.

    Parameters
    ----------
    model : bytes
        ONNX graph in f32 with its weights inside.

    Returns
    -------
    bytes
        Checked, with shape and type inference. The same `model` gives the same bytes.

    Raises
    ------
    EngineUnavailable
        When the onnx package is not installed.
    ModelError
        When the graph cannot be read, when a value is too large for half (65504) or a lone number
        other than 0 becomes 0, as an epsilon would, or when an operator does not take half.

    Notes
    -----
    ``onnxconverter-common`` does the same in general, and is not used: of a value too large it
    makes 10000, of one too small 1e-7, and it leaves casts to f32 as they are.
    """
    onnx, graph = loaded_onnx(model, "precision f16")
    converter = _Converter(onnx, graph)
    converter.convert()
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ModelError(f"graph is not valid in half precision: {e}") from e
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


class _Converter:
    def __init__(self, onnx: Any, model: Any) -> None:
        self._onnx = onnx
        self._graph = model.graph
        self._opsets = {o.domain: o.version for o in model.opset_import}
        self._float = onnx.TensorProto.FLOAT
        self._half = onnx.TensorProto.FLOAT16

    def convert(self) -> None:
        graph = self._graph
        fixed = set(self._fixed())
        for tensor in graph.initializer:
            if tensor.name not in fixed:
                self._tensor(tensor, f"initializer {tensor.name!r}")
        for node in graph.node:
            if not (node.op_type == "Constant" and fixed.intersection(node.output)):
                self._node(node)
        for value in (*graph.input, *graph.output):
            if value.name not in fixed and value.type.tensor_type.elem_type == self._float:
                value.type.tensor_type.elem_type = self._half
        # They would contradict the new types; the check infers them again.
        del graph.value_info[:]

    def _fixed(self) -> Iterator[str]:
        """Names of what is read where an operator does not take half."""
        for node in self._graph.node:
            try:
                schema = self._onnx.defs.get_schema(
                    node.op_type, self._opsets.get(node.domain, 1), node.domain
                )
            except self._onnx.defs.SchemaError as e:
                raise ModelError(f"operator {node.domain}.{node.op_type} is not known: {e}") from e
            for i, name in enumerate(node.input):
                formal = schema.inputs[min(i, len(schema.inputs) - 1)]
                if name and "tensor(float16)" not in formal.types and "tensor(float)" in formal.types:
                    yield name

    def _node(self, node: Any) -> None:
        for attribute in node.attribute:
            where = f"{attribute.name!r} of node {node.name or node.output[0]!r} ({node.op_type})"
            if attribute.type in (attribute.GRAPH, attribute.GRAPHS):
                raise ModelError(f"graph has no half variant: {where} is a graph of its own")
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self._float:
                attribute.i = self._half
            elif attribute.type == attribute.TENSOR:
                self._tensor(attribute.t, where)
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                single = attribute.name == "value_float"
                values = np.asarray(attribute.f if single else list(attribute.floats), np.float32)
                tensor = self._onnx.numpy_helper.from_array(values)
                self._tensor(tensor, where)
                attribute.CopyFrom(self._onnx.helper.make_attribute("value", tensor))

    def _tensor(self, tensor: Any, where: str) -> None:
        if tensor.data_type != self._float:
            return
        try:
            values = self._onnx.numpy_helper.to_array(tensor)
        except Exception as e:
            raise ModelError(f"{where} cannot be read: {e}") from e
        with np.errstate(over="ignore", under="ignore"):
            half = values.astype(np.float16)
        lost = np.isfinite(values) & ~np.isfinite(half)
        if lost.any():
            worst = float(np.abs(values[lost]).max())
            raise ModelError(f"{where} must fit half precision (65504), holds {worst:g}")
        if half.size == 1 and values.any() and not half.any():
            raise ModelError(f"{where} must not vanish in half precision, is {float(values.max()):g}")
        tensor.CopyFrom(self._onnx.numpy_helper.from_array(half, tensor.name))
