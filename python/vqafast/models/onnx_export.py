"""Modules to ONNX graphs, held against OpenVINO, and model directories on disk."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from vqafast.engines import create_engine
from vqafast.errors import ModelError

from .model_json import parse, to_json, weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .spec import ModelSpec

OPSET = 17
# Largest difference between OpenVINO in f32 and torch, relative to the largest value of the output.
TOLERANCE = 1e-4
_TORCH = Path(torch.__file__).parent


def write_files(directory: str | PathLike[str], spec: ModelSpec, contents: Mapping[str, bytes]) -> ModelSpec:
    """Write `contents` and the model.json that lists them; give the spec as it will be read."""
    path = Path(directory)
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    whole = replace(spec, files=files, weights_sha256=weights_digest(files), directory=path)
    # What is written must be readable, so the reader judges it.
    read = parse(to_json(whole), path)
    path.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (path / name).write_bytes(data)
    text = json.dumps(to_json(read), indent=1, ensure_ascii=False) + "\n"
    (path / "model.json").write_text(text, encoding="utf-8")
    return read


def export_graph(
    name: str,
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic: dict[str, dict[int, str]],
    fold: bool = True,
) -> tuple[bytes, float]:
    """Export a module to ONNX: trace with the first example, compare with OpenVINO on all of them.

    Parameters
    ----------
    name : str
        For messages.
    examples : sequence of tuple of Tensor
        Inputs in order; they should differ wherever `dynamic` says that sizes may.
    dynamic : dict
        By input and output, the names of the axes that may have any size.
    fold : bool
        Compute what follows from weights alone. Not for relative position biases, which are five times as
        large as the weights; engines compute them when they load the graph.

    Returns
    -------
    data : bytes
        The graph.
    error : float
        Largest difference from torch, relative to the largest value of the output.

    Raises
    ------
    ModelError
        When that is above `TOLERANCE`, or the graph bakes in a shape.
    """
    module.eval()
    examples = [tuple(t.to(torch.float32) for t in e) for e in examples]
    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as seen, torch.no_grad():
        warnings.simplefilter("always")
        # The tracing exporter keeps one GRU node and folds batch norm in a second; the newer one
        # takes ten times as long for the same graph. It takes a file object, although torch's
        # annotation knows paths only.
        file: Any = buffer
        torch.onnx.export(
            module, examples[0], file, input_names=inputs, output_names=outputs,
            dynamic_axes=dynamic, opset_version=OPSET, dynamo=False, do_constant_folding=fold,
        )  # fmt: skip
    for w in seen:
        # Torch's own layers look at sizes to check them; other code that does may bake one in, which is
        # as it should be where no size may change.
        if dynamic and issubclass(w.category, TracerWarning) and _TORCH not in Path(w.filename).parents:
            raise ModelError(f"export: {name} takes Python values from tensors: {w.message}")
    data = buffer.getvalue()
    error = _parity(data, module, examples, inputs, outputs)
    if not error <= TOLERANCE:
        raise ModelError(f"export: {name}.onnx must equal torch within {TOLERANCE}, differs by {error:.3g}")
    return data, error


def _parity(
    data: bytes,
    module: nn.Module,
    examples: Sequence[tuple[Tensor, ...]],
    inputs: list[str],
    outputs: list[str],
) -> float:
    engine = create_engine("openvino", data)
    worst = 0.0
    for example in examples:
        with torch.no_grad():
            result = module(*example)
        expected = [result] if isinstance(result, Tensor) else list(result)
        got = engine.run({n: t.numpy() for n, t in zip(inputs, example, strict=True)})
        for name, tensor in zip(outputs, expected, strict=True):
            truth = tensor.numpy()
            if got[name].shape != truth.shape:
                return float("inf")
            difference = float(np.abs(got[name] - truth).max())
            worst = max(worst, difference / max(float(np.abs(truth).max()), 1e-6))
    return worst


def weights_of(module: nn.Module) -> bytes:
    """Parameters and buffers by name as safetensors, from which training can go on."""
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory, as tied layers do.
    return save({name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()})


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers from a seed."""
    # A generator of our own: exporting must not move the caller's.
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
