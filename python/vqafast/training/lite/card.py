"""``python -m vqafast.training.lite.card MODEL...``: the model card's tables from model.json.

``--write docs/model_card.md`` puts them between the card's markers, and a test compares the two: no figure
of the tables is typed by hand. ``--diagram FILE`` draws the reliability diagram (needs matplotlib).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqafast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLES = (
    ("by_codec", "codec"),
    ("by_flow", "flow"),
    ("by_distortion", "distortion"),
    ("by_resolution", "resolution"),
    ("by_kind", "material"),
    ("by_detail", "detail of the clean picture"),
    ("by_motion", "motion of the clean picture"),
)


def _rows(title: str, rows: dict[str, dict[str, float]]) -> list[str]:
    lines = [f"| {title} | n | SRCC | PLCC | MAE |", "|--|--|--|--|--|"]
    for name, f in rows.items():
        lines.append(f"| {name} | {f['n']:,} | {f['srcc']:.3f} | {f['plcc']:.3f} | {f['mae']:.1f} |")
    return [*lines, ""]


def summary(models: dict[str, dict[str, Any]]) -> str:
    """One row for every model and baseline: pooled figures, ladder, pairs, bias."""
    lines = [
        "| | SRCC | PLCC | MAE | SRCC of the folds | ladder | pairs in order | bias per source |",
        "|--|--|--|--|--|--|--|--|",
    ]
    for name, cv in models.items():
        pooled = cv["pooled"]
        folds = ", ".join(f"{fold['srcc']:.3f}" for fold in cv["folds"])
        pairs, bias = 100 * cv["pairs_in_order"], cv["source_bias_sd"]
        lines.append(
            f"| {name} | {pooled['srcc']:.3f} | {pooled['plcc']:.3f} | {pooled['mae']:.1f} | {folds} "
            f"| {cv['ladder_srcc_mean']:.3f} | {pairs:.1f} % | {bias:.1f} |"
        )
    return "\n".join(lines)


def tables(figures: dict[str, Any]) -> str:
    """Markdown tables of one model's cross-validation by codec, distortion, resolution and content."""
    cv = figures["cross_validation"]
    lines: list[str] = []
    for key, title in TABLES:
        lines += _rows(title, cv[key])
    lines += ["| said | was, mean | 10 % to 90 % | n |", "|--|--|--|--|"]
    for row in cv["reliability"]:
        lines.append(
            f"| {row['said']:.1f} | {row['was']:.1f} | {row['p10']:.1f} to {row['p90']:.1f} | {row['n']:,} |"
        )
    return "\n".join(lines)


def diagram(figures: dict[str, Any], path: Path) -> None:
    """Reliability diagram: predicted against measured VMAF on unseen content."""
    from matplotlib.figure import Figure

    rows = figures["cross_validation"]["reliability"]
    said = [row["said"] for row in rows]
    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    axes.fill_between(
        said, [r["p10"] for r in rows], [r["p90"] for r in rows], alpha=0.2, label="10 % to 90 %"
    )
    axes.plot(said, [r["was"] for r in rows], marker="o", markersize=4, label="mean")
    axes.set(xlabel="predicted VMAF", ylabel="measured VMAF", xlim=(0, 100), ylim=(0, 100))
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(path, metadata={"Date": None})


def blocks(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Markdown by the name of its marker: ``summary``, ``uncertainty``, and one for every model."""
    found: dict[str, str] = {}
    rows = {name: figures["cross_validation"] for name, figures in models.items()}
    first = next(iter(models.values()))
    lines = [summary(rows)]
    for name, f in first["baselines"].items():
        lines.append(
            f"| {name}, hand-crafted features | {f['srcc']:.3f} | {f['plcc']:.3f} | {f['mae']:.1f} | | | | |"
        )
    found["summary"] = "\n".join(lines)
    lines = ["| | within u | within 2u | median u | MAE by third of u |", "|--|--|--|--|--|"]
    for name, figures in models.items():
        u = figures["uncertainty"]
        thirds = ", ".join(f"{mae:.1f}" for mae in u["mae_by_third_of_u"])
        shares = f"{100 * u['within_u']:.1f} % | {100 * u['within_2u']:.1f} %"
        lines.append(f"| {name} | {shares} | {u['median_u']:.1f} | {thirds} |")
    found["uncertainty"] = "\n".join(lines)
    return found | {name: tables(figures) for name, figures in models.items()}


def fill(text: str, models: dict[str, dict[str, Any]]) -> str:
    """Replace what stands between ``<!-- figures: NAME -->`` and ``<!-- end -->`` for every block.

    Raises
    ------
    InvalidArgument
        When a marker is missing: a figure would go stale unseen.
    """
    for name, block in blocks(models).items():
        head, tail = f"<!-- figures: {name} -->", "<!-- end -->"
        start = text.find(head)
        stop = text.find(tail, start)
        if start < 0 or stop < 0:
            raise InvalidArgument(f"card: the card must hold {head} and {tail} after it")
        text = f"{text[:start]}{head}\n{block}\n{text[stop:]}"
    return text


def read_figures(models: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Metadata of model directories by the name in their model.json."""
    parsed = [json.loads((model / "model.json").read_text(encoding="utf-8")) for model in models]
    return {model["name"]: model["metadata"] for model in parsed}


def main() -> None:
    """Print the tables of each model directory given, or write them to the card."""
    parser = argparse.ArgumentParser(
        prog="vqafast.training.lite.card", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--write", type=Path, help="card whose markers to fill")
    parser.add_argument(
        "--diagram", type=Path, help="where to draw the first model's reliability (.svg, .png)"
    )
    options = parser.parse_args()
    found = read_figures(options.models)
    if options.write:
        options.write.write_text(fill(options.write.read_text(encoding="utf-8"), found), encoding="utf-8")
    else:
        for name, block in blocks(found).items():
            print(f"{name}\n\n{block}\n")
    if options.diagram:
        diagram(next(iter(found.values())), options.diagram)


if __name__ == "__main__":
    main()
