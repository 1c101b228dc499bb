"""Write golden.json again: ``python -m tests.golden.make_golden``; do so only with a new model version."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests import clips

import vqafast

GOLDEN = Path(__file__).with_name("golden.json")
#: Coarse enough for the model to see blocks, blur and noise; small enough to encode in a second.
CLIPS: dict[str, clips.Clip] = {
    "crf18.mp4": clips.Clip(width=480, height=270, frames=60, options={"crf": "18", "threads": "1"}),
    "crf32.mp4": clips.Clip(width=480, height=270, frames=60, options={"crf": "32", "threads": "1"}),
    "crf46.mp4": clips.Clip(width=480, height=270, frames=60, options={"crf": "46", "threads": "1"}),
    "portrait.mp4": clips.Clip(width=270, height=480, frames=60, options={"crf": "30", "threads": "1"}),
    "tenbit.mp4": clips.Clip(
        width=480, height=270, frames=60, pix_fmt="yuv420p10le", options={"crf": "30", "threads": "1"}
    ),
    "lossless.mkv": clips.Clip("ffv1", width=480, height=270, frames=60),
}


def main() -> None:
    scorer = vqafast.Scorer()
    spec = scorer.spec
    golden = {"model": spec.name, "weights_sha256": spec.weights_sha256, "scores": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, clip in CLIPS.items():
            path = Path(folder) / name
            clips.encode(path, clip)
            result = scorer.assess(path)
            golden["scores"][name] = {
                "score": round(result.score, 4),
                "frames": [round(f.score, 4) for f in result.frames],
            }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
