"""The protocol on whole runs: one run a split, and one run tested on other datasets."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument, MissingFile, VqafastError
from vqafast.models.a2inet.variants import VARIANTS
from vqafast.training.datasets import load_dataset
from vqafast.training.protocol import (
    CrossReport,
    Published,
    SplitReport,
    cross_dataset,
    evaluate_split,
)
from vqafast.training.reporter import Silent
from vqafast.training.run_config import RunConfig
from vqafast.training.runs import RunResult, run

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from vqafast.training.datasets import VideoDataset
    from vqafast.training.metrics import Correlations
    from vqafast.training.reporter import Reporter

    Score = Callable[[Path], float]


def evaluate_run(
    directory: str | os.PathLike[str],
    splits: int = 10,
    *,
    reporter: Reporter | None = None,
    progress: Callable[[int, Correlations], None] | None = None,
) -> SplitReport:
    """Repeat a run on the first `splits` splits of its dataset and report the medians.

    The run's own split is read back, or finished; the others become runs below ``DIRECTORY/splits``,
    with the same features, and stay there, so that an interrupted evaluation goes on.

    Raises
    ------
    MissingFile
        When the directory holds no run.
    InvalidArgument
        When a split's test part has fewer than two videos.
    """
    root = Path(directory)
    if not (root / "config.json").is_file():
        raise MissingFile(f"{root}: a run directory must hold config.json, got none", path=str(root))
    config = RunConfig.read(root / "config.json")
    reporter = reporter or Silent()
    features = config.features or str(root.parent / "features")
    figures, parts = [], []
    for k in range(splits):
        if k == config.split:
            result = run(config, root, reporter=reporter)
        else:
            reporter.note(f"split {k + 1} of {splits}")
            # Split k is the same whatever the number of splits.
            wanted = config.changed(
                split=k, splits=max(splits, config.splits), features=features,
                export=False, keep_weights=False,
            )  # fmt: skip
            result = run(wanted, root / "splits" / f"{k:02d}", reporter=reporter)
        test = [row for row in result.predictions if row.split == "test"]
        figures.append(evaluate_split([r.predicted for r in test], [r.mos for r in test], f"split {k + 1}"))
        parts.append(_counts(result))
        if progress:
            progress(k, figures[-1])
    return SplitReport(
        model=config.model,
        dataset=config.dataset,
        protocol=f"median of {splits} splits ({_words(config)})",
        parts=tuple(parts),
        per_split=tuple(figures),
        published=_published(config),
    )


def _counts(result: RunResult) -> tuple[int, int, int]:
    count = {part: sum(row.split == part for row in result.predictions) for part in ("train", "val", "test")}
    return count["train"], count["val"], count["test"]


def _words(config: RunConfig) -> str:
    if config.ratio is None:
        return "published, official or 60/20/20 by content, the first that the dataset has"
    return config.ratio if isinstance(config.ratio, str) else "/".join(f"{100 * r:g}" for r in config.ratio)


def _published(config: RunConfig) -> tuple[Published, ...]:
    figures = _printed(config, config.dataset)
    if not figures:
        return ()
    return (Published(f"{config.model}, published", VARIANTS[config.model].paper, figures),)


def _printed(config: RunConfig, *names: str) -> dict[str, float]:
    """Figures that the paper prints for this variant; none for backbones that are not the paper's."""
    variant = VARIANTS.get(config.model)
    if variant is None or config.random_backbones:
        return {}
    return next((dict(variant.published[n]) for n in names if n in variant.published), {})


def evaluate_cross(
    config: RunConfig,
    directory: str | os.PathLike[str],
    tests: Mapping[str, VideoDataset],
    scorer: Callable[[Path], Score],
    *,
    reporter: Reporter | None = None,
) -> CrossReport:
    """Train what `config` says, then score every test set with the exported model (001, table 3).

    A test set that is the training dataset counts with the test part of its split. Scores are kept
    below ``DIRECTORY/cross``, one file a test set and model, and an interrupted evaluation goes on.

    Parameters
    ----------
    tests : mapping
        Test sets by name.
    scorer : callable
        From the exported model's directory to a function that scores a file.

    Raises
    ------
    InvalidArgument
        When a test set holds a video that the model was trained on, or chosen with.
    """
    root = Path(directory)
    reporter = reporter or Silent()
    result = run(config, root, reporter=reporter)
    trained = load_dataset(config.dataset, config.root, labels=config.labels, split_file=config.split_file)
    known = _by_path(trained, result)
    model = root / "model"
    results: dict[str, tuple[Sequence[str], Sequence[float], Sequence[float]]] = {}
    score: Score | None = None
    for name, data in tests.items():
        items = list(data.items)
        if name == config.dataset:
            tested = {row.name for row in result.predictions if row.split == "test"}
            items = [item for item in items if item.name in tested]
        seen = [i.name for i in items if known.get(_key(i.path), ("", 0.0))[0] in ("train", "val")]
        if seen:
            raise InvalidArgument(
                f"{name}: test videos must not be among those trained on, got {len(seen)} such as {seen[0]!r}"
            )
        reporter.stage(f"scores of {name}", len(items))
        file = re.sub(r"[^\w.-]", "_", name)
        kept = _Scores(root / "cross" / f"{file}-{_digest(model)}.csv")
        predicted = []
        for item in items:
            value = known.get(_key(item.path), ("", math.nan))[1]
            if not math.isfinite(value) and item.name not in kept.values:
                score = score or scorer(model)
                try:
                    kept.add(item.name, score(item.path), "")
                except VqafastError as error:
                    reporter.note(f"{item.name}: [{error.code}] {error}")
                    kept.add(item.name, math.nan, error.code)
            predicted.append(value if math.isfinite(value) else kept.values[item.name])
            reporter.advance(item.name)
        results[name] = ([i.name for i in items], predicted, [i.mos for i in items])
    # Table 3 is trained on LSVQ; figures of a dataset on itself are medians over splits (table 2).
    names = {name: [f"lsvq->{name}", *([name] if name.startswith("lsvq") else [])] for name in tests}
    lsvq = config.dataset in ("lsvq", "lsvq_train")
    published = {name: _printed(config, *names[name]) for name in tests} if lsvq else {}
    return cross_dataset(config.model, config.dataset, results, published)


def _key(path: Path) -> str:
    return str(path.resolve())


def _by_path(data: VideoDataset, result: RunResult) -> dict[str, tuple[str, float]]:
    """Part and score of every video of the run, by file: sets of one family name them alike."""
    paths = {item.name: _key(item.path) for item in data.items}
    return {paths[row.name]: (row.split, row.predicted) for row in result.predictions if row.name in paths}


def _digest(model: Path) -> str:
    # model.json lists the SHA-256 of every other file.
    return hashlib.sha256((model / "model.json").read_bytes()).hexdigest()[:12]


class _Scores:
    """Scores by name in a CSV file that grows by a line a video; a failed one is tried again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, float] = {}
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.reader(file):
                    # A kill may have cut the last line.
                    if len(row) == 3 and row[2] == "" and _number(row[1]):
                        self.values[row[0]] = float(row[1])
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, value: float, error: str) -> None:
        self.values[name] = value
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([name, repr(value), error])
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(line.getvalue())


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
