"""Every system on 8 s of 1080p, by stage: ``python benchmarks/bench_models.py --clip CLIP --out results``.

CLIP is looped, scaled and encoded as for `bench_pipeline`. Each system scores it with random weights, which
cost what real ones cost, with one warm `Scorer`; rounds are interleaved with decoding the whole file with
PyAV. Medians of the rounds are reported. Afterwards one training step of each network over clips is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _machine import describe
from bench_pipeline import decode_all, make_clip, timed

import vqafast
from vqafast.models.convert import convert
from vqafast.training.clips.samples import ClipSamples, ClipScorer
from vqafast.training.clips.system import NAMES, system_of
from vqafast.training.losses import weighted_loss

SECONDS, HEIGHT = 8, 1080
STAGES = ("open", "decode", "ingest", "backbone", "head", "total")
SYSTEMS = ("fast-vqa-b", "fast-vqa-m", "fastervqa", "dover-technical", "ksvqe", "kvq", "clif-vqa")


class Item:
    """A video for `ClipSamples`."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name


def scoring(system: str, clip: Path, rounds: int, threads: int) -> dict[str, Any]:
    """Times of scoring, and of decoding the same file."""
    with tempfile.TemporaryDirectory() as folder:
        model = convert(system, None, Path(folder) / "model", random_weights=True)
        scorer = vqafast.Scorer(str(model), threads=threads)
        scorer.assess(clip)
        decode, score, stages = [], [], []
        for _ in range(rounds):
            decode.append(timed(lambda: decode_all(clip))[0])
            seconds, assessment = timed(lambda: scorer.assess(clip))
            score.append(seconds)
            stages.append(assessment.to_dict()["timings"])
        size = sum(p.stat().st_size for p in model.glob("*.onnx"))
    return {
        "system": system,
        "looked_at": len(assessment.frames),
        "decode_all_s": statistics.median(decode),
        "score_s": statistics.median(score),
        "score_range_s": [min(score), max(score)],
        "stages_s": {s: statistics.median(t[s] for t in stages) for s in STAGES},
        "graphs_mb": size / 1e6,
    }


def training(system: str, clip: Path, batch: int) -> dict[str, float]:
    """Seconds of one step: reading `batch` clips, and forward, backward and AdamW."""
    family = system_of(system)
    torch.manual_seed(0)
    model = ClipScorer(family, family.start({}).network).train()
    samples = ClipSamples([Item(clip, str(i)) for i in range(batch)], range(batch), family, seed=0, threads=2)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-5)
    weights = dict.fromkeys(family.recipe["losses"], 1.0)
    begun = time.perf_counter()
    inputs = samples.collate([samples.sample(i, 1) for i in range(batch)])
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    scores, added = model(*inputs)
    loss = weighted_loss(weights)(scores, torch.linspace(0, 1, batch))
    (loss if added is None else loss + added).backward()
    optimiser.step()
    return {"batch": batch, "read_s": read, "step_s": time.perf_counter() - begun}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| system | score, s (range) | decode all, s | open | decode | ingest | backbone | head "
        "| graphs, MB | training step of 2 clips, s |",
        "|--|--|--|--|--|--|--|--|--|--|",
    ]
    for r in rows:
        low, high = r["score_range_s"]
        stages = " | ".join(f"{r['stages_s'][s]:.2f}" for s in STAGES[:-1])
        step = f"{r['training']['step_s']:.1f}" if "training" in r else ""
        lines.append(
            f"| `{r['system']}` | {r['score_s']:.2f} ({low:.2f}-{high:.2f}) | {r['decode_all_s']:.2f} "
            f"| {stages} | {r['graphs_mb']:.0f} | {step} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    machine, rows = describe(), []
    with tempfile.TemporaryDirectory() as folder:
        clip, _ = make_clip(options.clip, HEIGHT, SECONDS, Path(folder))
        for system in options.systems:
            row = scoring(system, clip, options.rounds, options.threads)
            if system in NAMES:
                row["training"] = training(system, clip, 2)
            rows.append(row)
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    text = "\n".join(
        [
            "# Other systems: 8 s of 1080p",
            "",
            f"{SECONDS} s of H.264, 30 frames/s, warm, medians of {options.rounds} rounds interleaved with "
            f"PyAV decoding every frame. {machine['cpu']}, {machine['cores']} cores, commit "
            f"{machine['commit']}; random weights. Stages overlap.",
            "",
            table(rows),
            "",
        ]
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "models.md").write_text(text, encoding="utf-8")
    (options.out / "models.json").write_text(
        json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
