"""``vqafast mos``: mean opinion scores from the raw ratings of a subjective study."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the hints
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vqafast.cli import _options as options  # noqa: TC001 - typer reads the hints
from vqafast.cli._report import printable, reporting
from vqafast.errors import EngineUnavailable, InvalidArgument

if TYPE_CHECKING:
    from vqafast.training.subjective import OpinionScores

BETWEEN = ","


def command(
    ratings: Annotated[
        Path,
        typer.Argument(help="CSV: observer, video, rating[, session]; or video and a column per observer."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV to write: name, mos, ci95, n. Else to stdout.")
    ] = None,
    scale: Annotated[str, typer.Option(help="Lowest and highest rating possible.")] = "1,5",
    screen: Annotated[
        str, typer.Option(help="Screening of observers: correlation,bt500, one of the two, or none.")
    ] = "correlation,bt500",
    min_correlation: Annotated[float, typer.Option(help="With the mean of the other observers.")] = 0.7,
    outliers: Annotated[
        str, typer.Option(help="Single ratings far from the others: keep, range or interval.")
    ] = "keep",
    interval: Annotated[str, typer.Option(help="normal (1.96) or student (few observers).")] = "normal",
    method: Annotated[str, typer.Option(help="mean, or subject-model (ITU-T P.913).")] = "mean",
    debug: options.Debug = False,
) -> None:
    """Screen observers and average their ratings into MOS with 95 % confidence intervals."""
    with reporting(debug):
        try:
            from vqafast.training.subjective import opinion_scores, read_ratings
        except ModuleNotFoundError as error:
            raise EngineUnavailable(
                f"mos: {error.name} must be installed: pip install 'vqafast[train]'"
            ) from error
        chosen = () if screen == "none" else tuple(part.strip() for part in screen.split(BETWEEN))
        scores = opinion_scores(
            read_ratings(ratings, scale=_scale(scale)), screen=cast("Any", chosen),
            min_correlation=min_correlation, outliers=cast("Any", outliers),
            interval=cast("Any", interval), method=cast("Any", method),
        )  # fmt: skip
        if out is None:
            scores.write_csv(sys.stdout)
        else:
            _write(scores, out)
        # The scores may be in a pipe; what was done to them is for the person.
        for line in _account(scores):
            print(printable(line), file=sys.stderr if out is None else sys.stdout)
        for name in scores.unrated:
            print(f"warning[no_rating_left]: {printable(name)}: no rating is left, no score", file=sys.stderr)


def _scale(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(BETWEEN))
    except ValueError:
        raise InvalidArgument(f"scale: must be two numbers like 1,5, got {text!r}") from None
    return low, high


def _write(scores: OpinionScores, out: Path) -> None:
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            scores.write_csv(file)
    except OSError as error:
        raise InvalidArgument(
            f"out: must be a file that can be written, got {out}: {error.strerror}"
        ) from None


def _account(scores: OpinionScores) -> list[str]:
    gone = sum(one.ratings for one in scores.rejected)
    kept = scores.observers - len(scores.rejected)
    lines = [
        f"{len(scores.videos)} videos scored from {int(scores.n.sum())} of {scores.ratings} ratings, "
        f"{kept} of {scores.observers} observers",
        f"observers removed: {len(scores.rejected)}, with {gone} ratings",
    ]
    lines += [f"  {one.observer}: {one.reason} ({one.ratings} ratings)" for one in scores.rejected]
    if scores.removed:
        lines.append(f"outlying ratings removed: {scores.removed}")
    else:
        lines.append(
            f"outlying ratings removed: 0 ({scores.beyond} beyond 1.96 standard deviations of their video)"
        )
    return lines
