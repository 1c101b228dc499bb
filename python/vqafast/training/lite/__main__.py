"""``python -m vqafast.training.lite --data DATA --out DIR``: train and export ``a2inet-lite``.

DATA comes from ``python -m vqafast.training.synthesis``. Writes the model directory that
``Scorer`` loads, with the cross-validated figures in its metadata.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from vqafast.training import features
from vqafast.training.lite import head, protocol
from vqafast.training.lite.data import load
from vqafast.training.lite.publish import publish


def main() -> int:
    """Cross-validate (unless ``--folds 0``), fit on everything, export."""
    parser = argparse.ArgumentParser(prog="vqafast.training.lite")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5, help="0 skips the cross-validation")
    parser.add_argument("--epochs", type=int, default=40, help="of the head")
    parser.add_argument("--semantic-epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    schedule = protocol.Schedule(options.semantic_epochs, head.Recipe(epochs=options.epochs), options.seed)
    data = load(options.data, options.jobs)
    figures = {"data": features.describe(options.data)}
    if options.folds:
        scores = protocol.cross_validate(data, options.folds, schedule)
        figures["cross_validation"] = protocol.report(data, scores, options.folds)
        print(json.dumps(figures["cross_validation"], indent=1))
    net, trained = protocol.fit(data, np.arange(len(data.labels)), schedule)
    publish(net, trained, options.out, figures)
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
