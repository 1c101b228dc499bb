"""The ONNX graph that TensorRT is given: in its precision, and with weights where it looks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .half_graph import half_graph, loaded_onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def parsed_graph(model: bytes, precision: str) -> bytes:
    """Give the bytes that the parser reads: `direct_weights`, and `half_graph` for "f16"."""
    direct = direct_weights(model)
    return half_graph(direct) if precision == "f16" else direct


def direct_weights(model: bytes) -> bytes:
    """Give initializers to their readers without an Identity between.

    Of equal initializers torch's exporter keeps one and makes the others Identities of it. TensorRT
    wants weights where it is given the output of a layer then, as for the bias of a convolution.

    Parameters
    ----------
    model : bytes
        ONNX graph with its weights inside.

    Returns
    -------
    bytes
        `model` itself where nothing is to be done. The same `model` gives the same bytes.

    Raises
    ------
    EngineUnavailable
        When the onnx package is not installed.
    ModelError
        When the graph cannot be read.
    """
    if b"Identity" not in model:
        return model
    _, loaded = loaded_onnx(model, "tensorrt")
    graph = loaded.graph
    origins = _origins(graph)
    if not origins:
        return model
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = origins.get(name, name)
    read = {value.name for value in graph.output} | set(_read_inside(graph.node))
    kept = [node for node in graph.node if not (node.output[0] in origins and node.output[0] not in read)]
    del graph.node[:]
    graph.node.extend(kept)
    data: bytes = loaded.SerializeToString(deterministic=True)
    return data


def _origins(graph: Any) -> dict[str, str]:
    """Name of the weights behind each Identity, through others; nodes come after what they read."""
    # An initializer that is an input too is only its default.
    weights = {tensor.name for tensor in graph.initializer} - {value.name for value in graph.input}
    weights |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    origins: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and not node.domain:
            origin = origins.get(node.input[0], node.input[0])
            if origin in weights:
                origins[node.output[0]] = origin
    return origins


def _read_inside(nodes: Iterable[Any]) -> Iterator[str]:
    """Names that the graphs inside of nodes read, which may be of the graph around them."""
    for node in nodes:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.type == attribute.GRAPH else attribute.graphs
            for graph in inner:
                yield from (name for part in graph.node for name in part.input)
                yield from (value.name for value in graph.output)
                yield from _read_inside(graph.node)
