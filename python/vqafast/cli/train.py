"""``vqafast train``: the papers' models on labelled data sets, and the default model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.cli._run_progress import RunProgress
from vqafast.errors import EngineUnavailable, InvalidArgument

if TYPE_CHECKING:
    from vqafast.training.runs import RunResult

LITE = "a2inet-lite"
_LITE_FIELDS = ("data", "out", "folds", "epochs", "seed", "jobs")
# Options of the papers' models that are fields of RunConfig under the same name.
_FIELDS = (
    "dataset", "root", "labels", "split_file", "split", "splits", "epochs", "batch", "lr", "weight_decay",
    "eta", "patience", "precision", "seed", "quality_weights", "semantic_weights", "random_backbones", "init",
    "clip_weights", "contrique_weights", "end_to_end", "features", "skip_failed", "jobs", "workers", "device",
    "tensorboard",
)  # fmt: skip


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="a2inet or another of its variants, fast-vqa-b or another of its family, ksvqe, kvq, "
            f"clif-vqa, or {LITE}, the default model."
        ),
    ],
    dataset: Annotated[str | None, typer.Option(help="Data set to train on, e.g. konvid1k or csv.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder with the data set's videos.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label file, if not found under the root.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="File with the data set's splits.")] = None,
    split: Annotated[int | None, typer.Option(help="Which split, from 0.  [default: 0]")] = None,
    splits: Annotated[int | None, typer.Option(help="How many splits there are.  [default: 10]")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Run directory; {LITE}: model directory.  [default: runs/MODEL-DATASET]"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file of run options; others override it.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most.  [default: the model's own recipe]")] = None,
    batch: Annotated[int | None, typer.Option(help="Videos per step.  [default: the recipe's]")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.  [default: the recipe's]")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="[default: the recipe's]")] = None,
    eta: Annotated[
        float | None, typer.Option(help="Weight of the rank loss.  [default: the recipe's]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation SRCC.  [default: the recipe's]")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="f32 or bf16 (autocast).  [default: f32]")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same machine: same weights.  [default: 0]")
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option("--resume/--no-resume", help="Go on with what OUT holds.  [default: resume]"),
    ] = None,
    quality_weights: Annotated[
        str | None, typer.Option(help="Weights of the quality backbone: path, name or address.")
    ] = None,
    semantic_weights: Annotated[str | None, typer.Option(help="Of the semantic backbone.")] = None,
    random_backbones: Annotated[
        bool | None, typer.Option("--random-backbones", help="Leave frozen parts random: tests only.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Model directory, run or checkpoint to start from.")
    ] = None,
    clip_weights: Annotated[
        str | None, typer.Option(help="Folder with CLIP, for ksvqe and clif-vqa.")
    ] = None,
    contrique_weights: Annotated[str | None, typer.Option(help="Checkpoint of CONTRIQUE, for ksvqe.")] = None,
    end_to_end: Annotated[
        bool | None, typer.Option("--end-to-end", help="Train the backbones too; needs much memory.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of stored features.  [default: features beside OUT]")
    ] = None,
    skip_failed: Annotated[
        bool | None, typer.Option("--skip-failed", help="Go on without missing and unreadable videos.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help=f"Videos at once.  [default: 1; {LITE}: 2]")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read ahead while training.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.  [default: auto]")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="Log for it too.")] = None,
    data: Annotated[
        Path | None, typer.Option(help=f"{LITE}: folder made by python -m vqafast.training.synthesis.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help=f"{LITE}: cross-validation over sources; 0 skips it.  [default: 5]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Notes and the result only.")] = False,
    debug: options.Debug = False,
) -> None:
    """Train a model; the same command goes on where it was interrupted.

    The papers' models end in a run directory with figures, predictions and an exported model; see
    docs/training.md. The default model is trained on synthesised data.
    """
    given = {n: v for n, v in locals().items() if v is not None and n not in ("model", "quiet", "debug")}
    with reporting(debug):
        if model == LITE:
            _train_lite(given)
        else:
            _train_run(model, given, quiet)


def _refuse(model: str, given: dict[str, Any], allowed: set[str]) -> None:
    wrong = sorted(set(given) - allowed)
    if wrong:
        names = ", ".join("--" + n.replace("_", "-") for n in wrong)
        raise InvalidArgument(f"train: options must belong to {model}, got {names}")


def _train_lite(given: dict[str, Any]) -> None:
    _refuse(LITE, given, set(_LITE_FIELDS))
    for name in ("data", "out"):
        if name not in given:
            raise InvalidArgument(f"train: {LITE} needs --{name}, got none")
    try:
        from vqafast.training.lite.train import train
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    train(**given)


def _train_run(model: str, given: dict[str, Any], quiet: bool) -> None:
    _refuse(model, given, {"out", "config", "resume", *_FIELDS})
    try:
        from vqafast.training import distributed
        from vqafast.training.run_config import RunConfig, read_object
        from vqafast.training.runs import run
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    fields = read_object(given["config"]) if "config" in given else {}
    fields |= {n: str(v) if isinstance(v, Path) else v for n, v in given.items() if n in _FIELDS}
    for name in ("dataset", "root"):
        if name not in fields:
            raise InvalidArgument(f"train: {model} needs --{name}, got none")
    config = RunConfig.from_dict({**fields, "model": model})
    suffix = f"-split{config.split}" if config.split else ""
    out = given.get("out", Path("runs") / f"{model}-{config.dataset}{suffix}")
    try:
        with RunProgress(quiet) as progress:
            result = run(config, out, resume=given.get("resume", True), reporter=progress)
    except KeyboardInterrupt:
        print(f"interrupted: the same command goes on with {printable(str(out))}", file=sys.stderr)
        raise
    finally:
        distributed.leave()
    if os.environ.get("RANK", "0") == "0":
        _show(result, config.export)


def _show(result: RunResult, exported: bool) -> None:
    for part in ("train", "val", "test"):
        figures = result.metrics.get(part)
        if figures:
            shown = [(n.upper(), figures[n]) for n in ("srcc", "plcc", "krcc", "rmse")]
            text = "  ".join(f"{n} {v:.3f}" if v is not None else f"{n} --" for n, v in shown)
            print(f"{part:5}  {figures['n']:5} videos  {text}")
    print(f"run: {printable(str(result.directory))}, best epoch {result.metrics['best_epoch']}")
    if exported:
        print(f"score with: vqafast score --model {printable(str(result.directory / 'model'))} VIDEO")


def _missing(error: ModuleNotFoundError) -> EngineUnavailable:
    return EngineUnavailable(f"train: {error.name} must be installed: pip install 'vqafast[train]'")
