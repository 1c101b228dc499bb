"""The ablation tables of paper 001 (section 4.5), trained here: every row over the same splits.

Each row and split is a run of `vqafast.training.runs`, which goes on where it was stopped. Rows
with the same backbones, views and sampling share stored features, computed once.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vqafast.errors import InvalidArgument, MissingFile
from vqafast.models.a2inet.variants import Variant, rows_of
from vqafast.models.backbones.table import BACKBONES
from vqafast.models.backbones.weights import resolve
from vqafast.training import atomic
from vqafast.training.datasets import VideoDataset, load_dataset
from vqafast.training.parts import Parts, parts_of
from vqafast.training.reporter import Reporter, Silent
from vqafast.training.run_config import RunConfig

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from vqafast.training.runs import RunResult

FIGURES = ("plcc", "srcc", "krcc", "rmse")


class Runner(Protocol):
    """`vqafast.training.runs.run`, or what stands in for it."""

    def __call__(
        self,
        config: RunConfig,
        directory: str | os.PathLike[str],
        *,
        resume: bool = True,
        reporter: Reporter | None = None,
        dataset: VideoDataset | None = None,
        parts: Parts | None = None,
    ) -> RunResult:
        """Do one run."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what the paper prints beside what was measured here.

    Attributes
    ----------
    published : dict
        "plcc", "srcc" on this data set, as far as the paper prints them.
    splits : tuple of dict
        Figures of `FIGURES` on each split's test part, in the order of the splits.
    """

    name: str
    paper: str
    published: dict[str, float]
    splits: tuple[dict[str, float], ...]

    def median(self, figure: str) -> float:
        """Median over the splits, as in the paper (section 4.1)."""
        return statistics.median(split[figure] for split in self.splits)


@dataclass(frozen=True, slots=True)
class Ablation:
    """A finished table."""

    table: int
    dataset: str
    rows: tuple[Row, ...]
    random_backbones: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with the medians."""
        rows = [{**asdict(r), "median": {f: r.median(f) for f in FIGURES}} for r in self.rows]
        return {**asdict(self), "rows": rows}


def configs(
    row: Variant, *, weights: Mapping[str, str | None], splits: int, settings: Mapping[str, Any]
) -> list[RunConfig]:
    """Give the runs of one row, a split each.

    Parameters
    ----------
    weights : dict
        Backbone (a key of `BACKBONES`) to its weights, as `RunConfig.quality_weights`.
    settings : dict
        Other fields of `RunConfig`.
    """
    unknown = sorted(set(weights) - set(BACKBONES))
    if unknown:
        raise InvalidArgument(f"ablate: weights must be for {sorted(BACKBONES)}, got {unknown}")
    if splits < 1:
        raise InvalidArgument(f"ablate: splits must be at least 1, got {splits}")
    first = RunConfig(
        **{
            # Ten models a row that nobody scores with.
            "export": False,
            "keep_weights": False,
            **settings,
            "model": row.name,
            "splits": splits,
            "quality_weights": weights.get(row.quality_backbone),
            "semantic_weights": weights.get(row.semantic_backbone),
        }
    )
    return [first.changed(split=i) for i in range(splits)]


def ablate(
    table: int,
    directory: str | os.PathLike[str],
    *,
    splits: int = 10,
    rows: Sequence[str] | None = None,
    weights: Mapping[str, str | None] | None = None,
    runner: Runner | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Ablation:
    """Train every row of a table on every split; what is finished is not done again.

    Parameters
    ----------
    table : int
        A key of `vqafast.models.a2inet.variants.TABLES`.
    directory : path
        Gets ``<row>/split-<i>`` for every run, ``features`` unless `settings` has another place, and
        ``table-<n>.json``, written after every row.
    rows : sequence of str, optional
        Names of the rows to train. Default: all.
    weights : dict, optional
        Backbone to its weights.
    runner : callable, optional
        Default: `vqafast.training.runs.run`.
    settings
        Fields of `RunConfig`: dataset, root, epochs, ...

    Raises
    ------
    InvalidArgument, MissingFile, ModelError
        Before anything is trained, when a row cannot be built.
    """
    chosen = rows_of(table, rows)
    root = Path(directory)
    settings = {"features": str(root / "features"), **settings}
    plan = {v.name: configs(v, weights=weights or {}, splits=splits, settings=settings) for v in chosen}
    first = plan[chosen[0].name][0]
    data = load_dataset(first.dataset, first.root, labels=first.labels, split_file=first.split_file)
    reporter = reporter or Silent()
    if not first.random_backbones:
        _check_weights(chosen, weights or {}, reporter)
    root.mkdir(parents=True, exist_ok=True)
    done: list[Row] = []
    built: dict[Any, Parts] = {}
    # Rows in the table's order; those that share features come to them when they are there.
    for position, variant in enumerate(chosen, 1):
        runs = plan[variant.name]
        parts = _parts(variant, runs[0], built)
        figures = []
        for i, config in enumerate(runs):
            reporter.note(f"{variant.name} (row {position} of {len(chosen)}), split {i + 1} of {splits}")
            result = (runner or _run)(
                config, root / variant.name / f"split-{i}", reporter=reporter, dataset=data, parts=parts
            )
            figures.append(_test_figures(result, variant.name, i))
        published = dict(variant.published.get(data.name, {}))
        done.append(Row(variant.name, variant.paper, published, tuple(figures)))
        so_far = Ablation(table, data.name, tuple(done), bool(first.random_backbones))
        atomic.write_json(root / f"table-{table}.json", so_far.to_dict())
    return so_far


def _run(
    config: RunConfig,
    directory: str | os.PathLike[str],
    *,
    resume: bool = True,
    reporter: Reporter | None = None,
    dataset: VideoDataset | None = None,
    parts: Parts | None = None,
) -> RunResult:
    from vqafast.training.runs import run

    return run(config, directory, resume=resume, reporter=reporter, dataset=dataset, parts=parts)


def _check_weights(chosen: Sequence[Variant], weights: Mapping[str, str | None], reporter: Reporter) -> None:
    """Find, and fetch, what any row needs before the first one is trained."""
    needed = {
        backbone
        for v in chosen
        for backbone, other in ((v.quality_backbone, "semantic"), (v.semantic_backbone, "quality"))
        if v.head.features != other
    }
    missing = {b: BACKBONES[b].weights for b in sorted(needed) if weights.get(b) is None}
    if missing:
        raise MissingFile(
            f"ablate: weights must be given for {', '.join(missing)}; the papers' are "
            f"{', '.join(missing.values())} (random ones only when asked for)"
        )
    for backbone in sorted(needed):
        resolve(str(weights[backbone]), progress=_fetching(backbone, reporter))


def _fetching(backbone: str, reporter: Reporter) -> Callable[[int, int | None], None]:
    """Tell `reporter` of a download, if there is one."""
    begun = False

    def progress(done: int, total: int | None) -> None:
        nonlocal begun
        if not begun:
            reporter.stage(f"weights of {backbone}, bytes", total)
            begun = True
        reporter.advance(done=done)

    return progress


def _parts(variant: Variant, config: RunConfig, built: dict[Any, Parts]) -> Parts:
    """Build a row's networks, with the backbones of an earlier row that has the same ones."""
    key = (
        variant.quality_backbone, variant.semantic_backbone, config.quality_weights, config.semantic_weights,
        variant.sampling, variant.quality, variant.semantic,
    )  # fmt: skip
    if key not in built:
        # One pair at a time: a table's backbones together would fill the memory.
        built.clear()
        built[key] = parts_of(config)
    return replace(
        built[key], name=variant.name, paper=variant.paper, head=replace(variant.head, **config.head)
    )


def _test_figures(result: RunResult, name: str, split: int) -> dict[str, float]:
    test = result.metrics.get("test")
    if not test:
        raise InvalidArgument(
            f"ablate: {name}, split {split}: the test part must hold at least two videos, got none or one"
        )
    return {figure: float(test[figure]) for figure in FIGURES}


def table_text(ablation: Ablation) -> list[str]:
    """Lines for people: the paper's figures, ours, and how far ours spread."""
    head = ("row", "PLCC paper", "PLCC here", "SRCC paper", "SRCC here", "SRCC lowest..highest")
    lines: list[tuple[str, ...]] = [head]
    for row in ablation.rows:
        ranks = [split["srcc"] for split in row.splits]
        cells = [row.name]
        for figure in ("plcc", "srcc"):
            paper = row.published.get(figure)
            cells += ["--" if paper is None else f"{paper:.4f}", f"{row.median(figure):.4f}"]
        lines.append((*cells, f"{min(ranks):.4f}..{max(ranks):.4f}"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
