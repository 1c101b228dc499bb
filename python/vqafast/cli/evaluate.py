"""``vqafast evaluate``: the papers' protocol on a run, across datasets, or on precomputed features."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.cli._run_progress import RunProgress
from vqafast.errors import EngineUnavailable, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vqafast.training.metrics import Correlations
    from vqafast.training.protocol import CrossReport, SplitReport


def command(
    target: Annotated[
        str,
        typer.Argument(help="Run directory; model to train (--train-on); ridge, svr or vsfa (--features)."),
    ],
    *,
    splits: Annotated[int, typer.Option(help="How many; the papers take ten.")] = 10,
    train_on: Annotated[str | None, typer.Option(help="Dataset to train on.")] = None,
    test_on: Annotated[
        str | None,
        typer.Option(help="Datasets to test on, separated by commas; csv:NAME is a table of yours."),
    ] = None,
    root: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="Folder of a dataset's videos; repeatable.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Label file of a dataset; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory.  [default: runs/MODEL-DATASET]")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Field of the run's config, e.g. epochs=50."),
    ] = None,
    features: Annotated[Path | None, typer.Option(help="Feature matrix (.mat, .npy), a row a video.")] = None,
    info: Annotated[Path | None, typer.Option(help="Info file (.mat): names, MOS, published splits.")] = None,
    by: Annotated[
        str, typer.Option(help="With --features: published splits, or random ones by content.")
    ] = "published",
    refit: Annotated[
        bool, typer.Option(help="With --features: fit again on training and validation once chosen.")
    ] = True,
    seed: Annotated[int, typer.Option(help="With --features: of random splits and starts.")] = 0,
    lpvq: Annotated[
        Path | None,
        typer.Option(help="Folder of LPVQ: local quality of a model with maps against its 7 x 7 regions."),
    ] = None,
    as_json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The report only.")] = False,
    debug: options.Debug = False,
) -> None:
    """Report the median over splits, or train on one dataset and test on others.

    PLCC and RMSE follow the four-parameter logistic mapping. Interrupted evaluations go on where they were.
    """
    with reporting(debug):
        if as_json and markdown:
            raise InvalidArgument("evaluate: --json or --markdown must be given, got both")
        if lpvq is not None:
            _local(target, lpvq, _pairs("labels", labels), as_json, quiet)
            return
        try:
            report, facts = _report(
                target, splits=splits, train_on=train_on, test_on=test_on, roots=_pairs("root", root),
                labels=_pairs("labels", labels), out=out, fields=_fields(option), features=features,
                info=info, by=by, refit=refit, seed=seed, quiet=quiet,
            )  # fmt: skip
        except ModuleNotFoundError as error:
            raise EngineUnavailable(
                f"evaluate: {error.name} must be installed: pip install 'vqafast[train]'"
            ) from error
        if as_json:
            print(json.dumps({**report.to_dict(), **facts}, ensure_ascii=False))
        elif markdown:
            print(report.to_markdown(), end="")
        else:
            _show(report)


def _report(
    target: str, *, splits: int, train_on: str | None, test_on: str | None, roots: Mapping[str, str],
    labels: Mapping[str, str], out: Path | None, fields: Mapping[str, Any], features: Path | None,
    info: Path | None, by: str, refit: bool, seed: int, quiet: bool,
) -> tuple[SplitReport | CrossReport, dict[str, Any]]:  # fmt: skip
    if (features is None) != (info is None):
        raise InvalidArgument("evaluate: --features and --info must be given together, got one of them")
    if (train_on is None) != (test_on is None):
        raise InvalidArgument("evaluate: --train-on and --test-on must be given together, got one of them")
    if features is not None and info is not None:
        if train_on is not None:
            raise InvalidArgument("evaluate: --features or --train-on must be given, got both")
        return _precomputed(target, features, info, splits, by, refit, seed, quiet)
    if train_on is not None and test_on is not None:
        names = [name.strip() for name in test_on.split(",") if name.strip()]
        return _cross(target, train_on, names, roots, labels, out, fields, quiet), {}
    if roots or labels or fields or out is not None:
        raise InvalidArgument(
            "evaluate: --root, --labels, --set and --out must come with --train-on: a run has its own"
        )
    return _run(Path(target), splits, quiet), {}


def _local(model: str, root: Path, labels: Mapping[str, str], as_json: bool, quiet: bool) -> None:
    """Print the correlations of local quality with LPVQ's regions."""
    try:
        from vqafast.cli._picture import quality_of
        from vqafast.training.datasets import load_dataset
        from vqafast.training.lpvq import evaluate_lpvq
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"evaluate: {error.name} must be installed: pip install 'vqafast[train]'"
        ) from error
    data = load_dataset("lpvq", root, labels=labels.get("lpvq"))
    with RunProgress(quiet) as progress:
        progress.stage("pictures", len(data.items))
        look = quality_of(model)

        def told(path: Path) -> Any:
            found = look(path)
            progress.advance(path.name)
            return found

        figures = asdict(evaluate_lpvq(data, told))
    if as_json:
        print(json.dumps({n: v if math.isfinite(v) else None for n, v in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:12}  {value:.4f}" if isinstance(value, float) else f"{name:12}  {value}")


def _precomputed(
    name: str, features: Path, info: Path, splits: int, by: str, refit: bool, seed: int, quiet: bool
) -> tuple[SplitReport, dict[str, Any]]:
    from vqafast.training.precomputed import evaluate_precomputed, read_precomputed

    data = read_precomputed(features, info)
    with RunProgress(quiet) as progress:
        progress.stage("splits", splits)
        report, chosen = evaluate_precomputed(
            name, data, splits=splits, seed=seed, kind=by, refit=refit, progress=_told(progress)
        )
    return report, {"chosen": chosen}


def _run(directory: Path, splits: int, quiet: bool) -> SplitReport:
    from vqafast.training.evaluation import evaluate_run

    with RunProgress(quiet) as progress:
        return evaluate_run(directory, splits, reporter=progress)


def _cross(
    model: str,
    trained_on: str,
    tests: Sequence[str],
    roots: Mapping[str, str],
    labels: Mapping[str, str],
    out: Path | None,
    fields: Mapping[str, Any],
    quiet: bool,
) -> CrossReport:
    from vqafast.training.datasets import load_dataset
    from vqafast.training.evaluation import evaluate_cross
    from vqafast.training.run_config import RunConfig

    if not tests:
        raise InvalidArgument("evaluate: --test-on must name at least one dataset, got none")
    config = RunConfig.from_dict(
        {
            **fields,
            "model": model,
            "dataset": trained_on,
            "root": _root(trained_on, roots),
            "labels": labels.get(trained_on),
        }
    )
    # Read before anything is trained, so that a wrong path is known at once.
    data = {
        # csv:ANYTHING is one more folder with a table of its own.
        name: load_dataset(name.partition(":")[0], _root(name, roots), labels=labels.get(name))
        for name in tests
    }
    with RunProgress(quiet) as progress:
        directory = out or Path("runs") / f"{model}-{trained_on}"
        return evaluate_cross(config, directory, data, _scorer, reporter=progress)


def _scorer(model: Path) -> Callable[[Path], float]:
    from vqafast.scoring.scorer import Scorer

    scorer = Scorer(str(model))
    return lambda path: scorer.assess(path).score


def _root(name: str, roots: Mapping[str, str]) -> str:
    """Folder of a dataset; LSVQ's parts lie below one root."""
    family = "lsvq" if name.startswith("lsvq_") else name
    for key in (name, family):
        if key in roots:
            return roots[key]
    raise InvalidArgument(f"evaluate: --root {name}=DIR must be given, got {', '.join(roots) or 'none'}")


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    result: dict[str, str] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise InvalidArgument(f"evaluate: --{option} must be NAME=PATH, got {text!r}")
        if name in result:
            raise InvalidArgument(f"evaluate: --{option} must be given once a dataset, got {name} twice")
        result[name] = value
    return result


def _fields(given: Sequence[str] | None) -> dict[str, Any]:
    """Fields of the run's config; values are JSON, or text where they are not."""
    result: dict[str, Any] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise InvalidArgument(f"evaluate: --set must be FIELD=VALUE, got {text!r}")
        if name in ("model", "dataset", "root", "labels"):
            raise InvalidArgument(f"evaluate: --set must leave {name} to its own option, got {text!r}")
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    return result


def _told(progress: RunProgress) -> Callable[[int, Correlations], None]:
    def tell(k: int, figures: Correlations) -> None:
        progress.advance(f"split {k + 1}: SRCC {figures.srcc:.4f}")

    return tell


def _show(report: SplitReport | CrossReport) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    # A table in a file or a pipe must not be cut at the width of a terminal that is not there.
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(report.to_table())
    for name, videos in getattr(report, "left_out", {}).items():
        for video in videos:
            print(f"left out of {name}: {printable(video)}")
