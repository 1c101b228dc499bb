"""``vqafast ablate``: train the papers' ablation tables and print them beside the published figures."""

from __future__ import annotations

import json
import os
from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import Annotated, Any

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.cli._run_progress import RunProgress
from vqafast.errors import EngineUnavailable, InvalidArgument

MODELS = ("a2inet",)
# Options that are fields of RunConfig under the same name.
_FIELDS = (
    "dataset", "root", "labels", "split_file", "epochs", "batch", "lr", "patience", "precision", "seed",
    "random_backbones", "features", "skip_failed", "jobs", "device",
)  # fmt: skip


def command(
    model: Annotated[str, typer.Argument(help="a2inet.")],
    table: Annotated[int, typer.Option(help="Table of the paper: 4, 5, 6 or 7; 2 for its four models.")],
    dataset: Annotated[str | None, typer.Option(help="Data set, e.g. konvid1k or csv.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder with the data set's videos.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label file, if not found under the root.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="File with the data set's splits.")] = None,
    splits: Annotated[int, typer.Option(help="The median is over so many.")] = 10,
    row: Annotated[list[str] | None, typer.Option(help="Train this row only; may be repeated.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of all runs.  [default: runs/ablate-MODEL-DATASET]")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="BACKBONE=PATH, name or address; may be repeated."),
    ] = None,
    official_weights: Annotated[
        bool, typer.Option("--official-weights", help="Fetch the papers' weights where they can be.")
    ] = False,
    random_backbones: Annotated[
        bool | None, typer.Option("--random-backbones", help="Leave backbones random: tests only.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most.  [default: 100]")] = None,
    batch: Annotated[int | None, typer.Option(help="Videos per step.  [default: 8]")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of Adam.  [default: 2e-5]")] = None,
    patience: Annotated[int | None, typer.Option(help="[default: 20]")] = None,
    precision: Annotated[str | None, typer.Option(help="f32 or bf16.  [default: f32]")] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of stored features.  [default: OUT/features]")
    ] = None,
    skip_failed: Annotated[
        bool | None, typer.Option("--skip-failed", help="Go on without missing and unreadable videos.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Videos at once.  [default: 1]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.  [default: auto]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the rows and their configs only.")] = False,
    as_json: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Notes and the result only.")] = False,
    debug: options.Debug = False,
) -> None:
    """Train every row of a table over the same splits; the same command goes on where it stopped."""
    given = {n: v for n, v in locals().items() if n in _FIELDS and v is not None}
    settings = {n: os.fspath(v) if isinstance(v, os.PathLike) else v for n, v in given.items()}
    with reporting(debug):
        if model not in MODELS:
            raise InvalidArgument(f"ablate: model must be one of {', '.join(MODELS)}, got {model!r}")
        chosen = _weights(weights or [], official_weights)
        if dry_run:
            _dry_run(table, row, chosen, as_json)
            return
        for name in ("dataset", "root"):
            if name not in settings:
                raise InvalidArgument(f"ablate: needs --{name}, got none")
        try:
            from vqafast.training import ablation
        except ModuleNotFoundError as error:
            raise EngineUnavailable(
                f"ablate: {error.name} must be installed: pip install 'vqafast[train]'"
            ) from error
        directory = out or os.path.join("runs", f"ablate-{model}-{dataset}")
        with RunProgress(quiet) as progress:
            result = ablation.ablate(
                table, directory, splits=splits, rows=row, weights=chosen, reporter=progress, **settings
            )
        if as_json:
            print(json.dumps(result.to_dict(), ensure_ascii=False, indent=1))
            return
        print(f"table {table}, {result.dataset}, median of {splits} splits")
        for line in ablation.table_text(result):
            print(printable(line))
        if result.random_backbones:
            print("random backbones: these figures measure no quality")


def _weights(given: list[str], official: bool) -> dict[str, str | None]:
    from vqafast.models.backbones.table import BACKBONES

    chosen: dict[str, str | None] = {}
    if official:
        chosen = {name: backbone.weights for name, backbone in BACKBONES.items()}
    for text in given:
        name, equals, source = text.partition("=")
        if not equals or not source or name not in BACKBONES:
            raise InvalidArgument(
                f"ablate: weights must be BACKBONE=SOURCE with one of {', '.join(BACKBONES)}, got {text!r}"
            )
        chosen[name] = source
    return chosen


def _dry_run(table: int, names: list[str] | None, weights: dict[str, str | None], as_json: bool) -> None:
    from vqafast.models.a2inet.variants import TRAINING, rows_of

    rows: list[dict[str, Any]] = [
        {
            "name": v.name,
            "paper": v.paper,
            "quality_backbone": v.quality_backbone,
            "quality_weights": weights.get(v.quality_backbone),
            "semantic_backbone": v.semantic_backbone,
            "semantic_weights": weights.get(v.semantic_backbone),
            "sampling": v.sampling.kind,
            "head": v.head.to_dict(),
            "training": TRAINING,
            "published": v.published,
        }
        for v in rows_of(table, names)
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    usual = _usual()
    for r in rows:
        changed = ", ".join(f"{k}={v}" for k, v in r["head"].items() if usual[k] != v)
        print(f"{r['name']}: {r['paper']}")
        for branch in ("quality", "semantic"):
            print(f"  {branch}: {r[branch + '_backbone']}, weights {r[branch + '_weights'] or 'not given'}")
        print(f"  head: {changed or 'as published'}")


def _usual() -> dict[str, Any]:
    from vqafast.models.a2inet.config import HeadConfig

    return HeadConfig().to_dict()
