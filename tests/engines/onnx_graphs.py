"""Every ONNX graph that this project exports, small and with random weights, and single operators."""

from __future__ import annotations

import io
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import vqafast
from vqafast.models import onnx_export
from vqafast.models.a2inet import ensemble, export
from vqafast.models.a2inet.config import DIRECTIONS, MODES, HeadConfig
from vqafast.models.a2inet.kernel import KernelRegression
from vqafast.models.a2inet.modules import A2INetHead
from vqafast.models.backbones.filter_bank import FilterBank
from vqafast.models.backbones.resnet import resnet34_iqa, resnet50, resnet50_last
from vqafast.models.backbones.scene_descriptors import SceneDescriptors
from vqafast.models.backbones.slowfast import SlowFastFast
from vqafast.models.backbones.vit import VitStages

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqafast.engines.onnx_module import OnnxModule

WEIGHTS = Path(str(vqafast.__file__)).parent / "weights"
SMALL = {
    "quality_dim": 12, "semantic_dim": 10, "dim": 8, "reduced_dim": 6, "gru_dim": 4, "gate_reduction": 2,
}  # fmt: skip
# Values of the dynamic axes. Lengths of 1 and odd sizes come before and after others.
SIZES = [
    {"B": 2, "T": 5, "N": 2, "H": 97, "W": 131},
    {"B": 1, "T": 1, "N": 1, "H": 96, "W": 96},
    {"B": 3, "T": 17, "N": 3, "H": 64, "W": 111},
    {"B": 1, "T": 2, "N": 1, "H": 128, "W": 65},
]


def backbone(make: Callable[[], Any], clip: bool = False) -> bytes:
    torch.manual_seed(0)
    net = make()
    channels = getattr(net, "channels", None) or net.stage_channels
    data, _ = export._backbone("net", net, channels=3, size=(96, 96), dim=2 * sum(channels), clip=clip)
    return data


def filter_bank() -> bytes:
    """Of luma, at a fixed size: the rest cannot be traced, and no model has it as a graph."""
    buffer: Any = io.BytesIO()
    names = [f"stage{i}" for i in range(len(FilterBank.stage_channels))]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            FilterBank().eval(), (torch.rand(1, 2, 113, 131),), buffer, input_names=["frames"],
            output_names=names, opset_version=onnx_export.OPSET, dynamo=False,
        )  # fmt: skip
    data: bytes = buffer.getvalue()
    return data


def head(part: str, **config: Any) -> bytes:
    torch.manual_seed(1)
    net = A2INetHead(HeadConfig(**{**SMALL, **config})).eval()
    if net.config.standardise:
        net.fit_constants(torch.randn(50, 12), torch.randn(50, 10))
    data, _ = getattr(export, f"_{part}")(net)
    return bytes(data)


def members(part: str, **config: Any) -> bytes:
    torch.manual_seed(2)
    heads = [A2INetHead(HeadConfig(**{**SMALL, **config})).eval() for _ in range(2)]
    kernels = [KernelRegression(SMALL["quality_dim"], 3, 5) for _ in heads]
    for kernel in kernels:
        for buffer in kernel.buffers():
            buffer.copy_(torch.rand(buffer.shape))
    args = (heads, kernels, 0.5) if part == "temporal" else (heads,)
    data, _ = getattr(ensemble, f"_{part}")(*args)
    return bytes(data)


HEADS: dict[str, dict[str, Any]] = {
    "concat": {"interaction": "concat", "catm": False},
    "quality alone": {"interaction": "concat", "catm": False, "features": "quality"},
    "semantic alone": {"interaction": "concat", "catm": False, "features": "semantic"},
    "mlp": {"interaction": "concat_mlp", "catm": False},
    "cagi": {"catm": False},
    "no attention": {"attention": False, "fc_activation": "relu"},
    "two convolutions": {"conv_shared": False, "conv_groups": 2, "conv_kernel": 5},
    "deep gru": {"gru_layers": 2},
    "two-way gru": {"gru_bidirectional": True},
    "gru of one": {"gru_dim": 1, "reduced_dim": 1},
    "standardised": {"standardise": True, "compress": True, "attention_bias": True},
    **{f"{m} {d}": {"mode": m, "direction": d} for m, d in product(MODES, DIRECTIONS)},
}

GRAPHS: dict[str, Callable[[], bytes]] = {
    **{f"{p.parent.name} {p.stem}": p.read_bytes for p in sorted(WEIGHTS.glob("*/*.onnx"))},
    "resnet34_iqa": lambda: backbone(lambda: resnet34_iqa(width=4)),
    "resnet50": lambda: backbone(lambda: resnet50(width=4)),
    "resnet50_last": lambda: backbone(lambda: resnet50_last(width=4)),
    "slowfast_fast": lambda: backbone(lambda: SlowFastFast(width=2), clip=True),
    "vit of 16": lambda: backbone(lambda: VitStages(16, (0, 1), width=24, depth=2, heads=3)),
    "vit of 8": lambda: backbone(lambda: VitStages(8, (1,), width=12, depth=2, heads=2)),
    "scene descriptors": lambda: backbone(SceneDescriptors),
    "filter bank": filter_bank,
    **{f"temporal, {n}": lambda c=c: head("temporal", **c) for n, c in HEADS.items()},
    **{
        f"align, {n}": lambda c=c: head("align", **c)
        for n, c in HEADS.items()
        if c.get("interaction", "cagi") == "cagi"
    },
    "align, members": lambda: members("align"),
    "temporal, members": lambda: members("temporal"),
    "temporal, concat members": lambda: members("temporal", interaction="concat", catm=False),
}


@cache
def graph(name: str) -> bytes:
    return GRAPHS[name]()


def examples(data: bytes, sizes: dict[str, int], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    shapes = [
        [sizes[d.dim_param] if d.dim_param else d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in onnx.load_model_from_string(data).graph.input
    ]
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def run(module: OnnxModule, arrays: list[Any]) -> list[Any]:
    with torch.inference_mode():
        return [t.numpy() for t in module(*map(torch.from_numpy, arrays))]


def difference(got: Any, expected: Any) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-6))


def model(
    nodes: list[Any],
    dims: list[Any] | None,
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    kinds: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT),
    domain: str = "",
) -> bytes:
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kinds[0], dims)],
        [helper.make_tensor_value_info("y", kinds[1], None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid(domain, opset)]
    data: bytes = helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def one(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], **attributes)
