"""FAST-VQA's network against the direct expression: ``python benchmarks/bench_swin.py --out results``.

One clip of each preset's own size, the same random weights, the same threads, rounds interleaved. "direct"
is the authors' algorithm written out (`vqafast.models.fast_vqa.reference`): every window's bias in full in
every block. "ours" is `FastVQA`, "openvino" its exported graph. Verified first. Medians, and the ratio of
each round's pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from _machine import describe

from vqafast.engines import create_engine
from vqafast.models.fast_vqa import reference
from vqafast.models.fast_vqa.config import PRESETS
from vqafast.models.fast_vqa.convert import ByTime
from vqafast.models.fast_vqa.network import FastVQA
from vqafast.models.onnx_export import export_graph, noise

if TYPE_CHECKING:
    from collections.abc import Callable


def direct(net: FastVQA, clips: Any) -> Any:
    """Local scores by the authors' algorithm, from the network's own parameters."""
    config = net.config
    state = dict(net.named_parameters()) | dict(net.named_buffers())

    def part(prefix: str) -> dict[str, Any]:
        return {k.removeprefix(f"{prefix}."): v for k, v in state.items() if k.startswith(f"{prefix}.")}

    x = reference.features(part(config.backbone_name), config.backbone, clips)
    return reference.quality_map(part(config.head_name), x)[:, 0]


def seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def step(net: FastVQA, score: Callable[[FastVQA, Any], Any], clips: Any) -> None:
    """Forward and backward."""
    net.zero_grad()
    score(net, clips).mean().backward()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    net = FastVQA(PRESETS[name]).eval()
    clips = noise(1, (1, 3, *net.config.sampling.size))
    graph, parity = export_graph(
        "network", ByTime(net), [(clips,)], inputs=["clips"], outputs=["q"], dynamic={}
    )
    engine = create_engine("openvino", graph, threads=options.threads)
    array = clips.numpy()

    def forward(score: Callable[[FastVQA, Any], Any]) -> Callable[[], Any]:
        def call() -> Any:
            with torch.inference_mode():
                return score(net, clips)

        return call

    calls: dict[str, Callable[[], Any]] = {
        "direct": forward(direct),
        "ours": forward(FastVQA.quality_map),
        "openvino": lambda: engine.run({"clips": array}),
        "direct, step": lambda: step(net, direct, clips),
        "ours, step": lambda: step(net, FastVQA.quality_map, clips),
    }
    off = (calls["ours"]() - calls["direct"]()).abs().max() / calls["direct"]().abs().max()
    times: dict[str, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(options.rounds):
        for key, call in calls.items():
            times[key].append(seconds(call))

    def ratio(base: str, key: str) -> float:
        pairs = zip(times[base], times[key], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    return {
        "preset": name,
        "differs": float(off),
        "openvino_differs": parity,
        "seconds": {key: round(statistics.median(values), 4) for key, values in times.items()},
        "ours": ratio("direct", "ours"),
        "openvino": ratio("direct", "openvino"),
        "step": ratio("direct, step", "ours, step"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| preset | direct, s | ours, s | direct / ours | openvino, s | direct / openvino | step direct, s |"
        " step ours, s | ratio | largest difference |",
        "|--|--|--|--|--|--|--|--|--|--|",
    ]
    for r in rows:
        s = r["seconds"]
        lines.append(
            f"| {r['preset']} | {s['direct']:.3f} | {s['ours']:.3f} | {r['ours']:.2f} | "
            f"{s['openvino']:.3f} | {r['openvino']:.2f} | {s['direct, step']:.2f} | {s['ours, step']:.2f} | "
            f"{r['step']:.2f} | {r['differs']:.1e} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--presets", default="fast-vqa-b,fast-vqa-m,fastervqa-mt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for swin.json and swin.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measure(name, options) for name in options.presets.split(",")]
    print(table(rows))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        result = {
            "machine": describe(), "torch": torch.__version__, "threads": options.threads,
            "rounds": options.rounds, "rows": rows,
        }  # fmt: skip
        (options.out / "swin.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (options.out / "swin.md").write_text(table(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
