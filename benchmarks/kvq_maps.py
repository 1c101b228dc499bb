"""KVQ's maps after an overfit run: ``python benchmarks/kvq_maps.py --out results --picture maps.png``.

A small KVQ learns 16 drawn clips of four frames, parts of which are blurred, from one number each: the
share that is not. Nobody tells it where the blur is. Then clips whose left half is blurred are encoded and
scored through `Scorer`: one of a scene that it has seen, and some that it has not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from _machine import describe

from vqafast.models.fast_vqa.config import MEAN, STD, HeadConfig, SwinConfig
from vqafast.models.kvq.config import KvqConfig
from vqafast.models.kvq.convert import write_network
from vqafast.models.kvq.loss import local_perception_loss
from vqafast.models.kvq.network import KVQ
from vqafast.models.spec import Calibration
from vqafast.scoring import maps as scoring_maps
from vqafast.scoring.scorer import Scorer
from vqafast.training.losses import plcc_loss, rank_loss

WIDTH, HEIGHT, FRAMES = 448, 256, 4
# Top, bottom, left, right of what is blurred, as shares of the picture.
PARTS: dict[str, tuple[float, float, float, float]] = {
    "nothing": (0, 0, 0, 0), "all": (0, 1, 0, 1), "left": (0, 1, 0, 0.5), "right": (0, 1, 0.5, 1),
    "top": (0, 0.5, 0, 1), "bottom": (0.5, 1, 0, 1), "corner": (0, 0.5, 0, 0.5),
    "middle": (0.25, 0.75, 0.25, 0.75),
}  # fmt: skip
CONFIG = KvqConfig(
    swin=SwinConfig(
        width=24, depths=(2, 2, 2, 2), heads=(1, 2, 4, 8), window=(2, 7, 7), fragment_bias=(False,) * 4,
        drop_path=0.0,
    ),
    head=HeadConfig(192, 32, 0.0), side=224, clips=1, frames=FRAMES, interval=1,
)  # fmt: skip


def scene(seed: int) -> np.ndarray[Any, Any]:
    """A picture with detail everywhere, ``(H, 2 W, 3)`` in 0..255: noise of every scale, and hard edges."""
    rng = np.random.default_rng(seed)
    high, wide = HEIGHT, 2 * WIDTH
    picture = np.zeros((high, wide, 3))
    for step in (1, 2, 4, 8, 16, 32):
        coarse = rng.normal(size=(high // step + 2, wide // step + 2, 3)) * step**0.35
        picture += coarse.repeat(step, 0).repeat(step, 1)[:high, :wide]
    picture = 128 + 22 * picture
    y, x = np.mgrid[:high, :wide]
    for _ in range(60):
        centre, radius = rng.uniform((0, 0), (high, wide)), rng.uniform(6, 40)
        inside = np.maximum(abs(y - centre[0]), abs(x - centre[1]) * rng.uniform(0.4, 2)) < radius
        picture[inside] = 0.5 * picture[inside] + 0.5 * rng.uniform(0, 255, 3)
    return np.clip(picture, 0, 255)


def blurred(picture: np.ndarray[Any, Any], sigma: float = 3.0) -> np.ndarray[Any, Any]:
    taps = np.exp(-0.5 * (np.arange(-9, 10) / sigma) ** 2)
    for axis in (0, 1):
        padded = np.pad(picture, [(9, 9) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        picture = sum(
            t * np.take(padded, range(i, i + picture.shape[axis]), axis)
            for i, t in enumerate(taps / taps.sum())
        )
    return picture


def clip(seed: int, part: str) -> np.ndarray[Any, Any]:
    """Frames ``(T, H, W, 3)`` uint8: the scene moves by, the blur stays."""
    top, bottom, left, right = PARTS[part]
    rows = slice(round(top * HEIGHT), round(bottom * HEIGHT))
    columns = slice(round(left * WIDTH), round(right * WIDTH))
    sharp = scene(seed)
    soft = blurred(sharp)
    frames = []
    for t in range(FRAMES):
        view = slice(3 * t, 3 * t + WIDTH)
        frame = sharp[:, view].copy()
        frame[rows, columns] = soft[:, view][rows, columns]
        frames.append(frame)
    return np.round(np.clip(frames, 0, 255)).astype(np.uint8)


def label(part: str) -> float:
    top, bottom, left, right = PARTS[part]
    return 1.0 - (bottom - top) * (right - left)


def encode(path: Path, frames: np.ndarray[Any, Any]) -> None:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "12"}
        stream.codec_context.time_base = Fraction(1, 25)
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


def tensors(frames: np.ndarray[Any, Any]) -> torch.Tensor:
    x = torch.from_numpy(frames.astype(np.float32)).permute(0, 3, 1, 2)
    x = torch.nn.functional.interpolate(x, size=(CONFIG.side, CONFIG.side), mode="bilinear", antialias=True)
    return ((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).transpose(0, 1)


def train(steps: int) -> tuple[KVQ, list[float]]:
    """KVQ's loss on half of the 16 clips at a time."""
    torch.manual_seed(0)
    net = KVQ(CONFIG).train()
    made = [(tensors(clip(seed, part)), label(part)) for seed in (1, 2) for part in PARTS]
    clips, labels = torch.stack([c for c, _ in made]), torch.tensor([y for _, y in made])
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-4, weight_decay=5e-2)
    losses = []
    for step in range(steps):
        chosen = torch.randperm(len(clips))[: len(clips) // 2]
        maps = net.maps(clips[chosen])
        loss = plcc_loss(maps.score, labels[chosen]) + 0.5 * rank_loss(maps.score, labels[chosen])
        loss = loss + 0.05 * local_perception_loss(net, clips[chosen], maps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: {loss.item():.4f}", flush=True)
    return net.eval(), losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--picture", type=Path, required=True)
    options = parser.parse_args()
    begun = time.perf_counter()
    net, losses = train(options.steps)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        write_network(net, model, random=False, name="kvq-small", calibration=Calibration())
        scorer = Scorer(model)
        for seed, part in [(1, "left"), (1, "right"), *((s, "left") for s in (11, 12, 13))]:
            path = Path(folder) / f"{seed}-{part}.mp4"
            encode(path, clip(seed, part))
            result = scorer.assess(path, maps=True)
            quality = scoring_maps.arrays_of(result)["quality"].mean(axis=(0, 1))
            # The column in the middle belongs to both halves.
            left, right = quality[:, :3], quality[:, 4:]
            rows.append({
                "scene": "seen" if seed == 1 else f"unseen {seed}", "blurred": part, "score": result.score,
                "left": left.mean(), "right": right.mean(), "left_range": [left.min(), left.max()],
                "right_range": [right.min(), right.max()],
            })  # fmt: skip
            if (seed, part) == (11, "left"):
                scorer.write_maps(result, options.picture)
    lines = [
        "# KVQ's local quality after an overfit run",
        "",
        f"`python benchmarks/kvq_maps.py --steps {options.steps}`, {time.perf_counter() - begun:.0f} s;",
        f"loss {losses[0]:.3f} at first, {np.mean(losses[-20:]):.4f} over the last 20 steps.",
        "",
        "| scene | blurred half | score | quality left (range) | quality right (range) |",
        "|--|--|--|--|--|",
    ]
    for r in rows:
        halves = (
            f"{r[side]:.3f} ({r[f'{side}_range'][0]:.3f}..{r[f'{side}_range'][1]:.3f})"
            for side in ("left", "right")
        )
        lines.append(f"| {r['scene']} | {r['blurred']} | {r['score']:.3f} | {' | '.join(halves)} |")
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "kvq_maps.md").write_text(text, encoding="utf-8")
    report = {"machine": describe(), "steps": options.steps, "losses": losses, "rows": rows}
    (options.out / "kvq_maps.json").write_text(
        json.dumps(report, indent=1, default=float) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
