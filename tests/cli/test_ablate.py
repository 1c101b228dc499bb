"""``vqafast ablate``: what it lists, what it hands on, what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from vqafast.cli import app
from vqafast.errors import EXIT_CODES
from vqafast.models.a2inet.variants import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def ablate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["ablate", *(str(a) for a in arguments)])


@pytest.mark.parametrize("table", sorted(TABLES))
def test_dry_run_lists_every_row(table: int) -> None:
    text = ablate("a2inet", "--table", table, "--dry-run")
    assert text.exit_code == 0
    names = [v.name for v in TABLES[table]]
    assert [line.split(":")[0] for line in text.stdout.splitlines() if not line.startswith(" ")] == names
    records = json.loads(ablate("a2inet", "--table", table, "--dry-run", "--json").stdout)
    assert [r["name"] for r in records] == names
    assert all(r["head"] == v.head.to_dict() for r, v in zip(records, TABLES[table], strict=True))
    assert all(r["training"] == {"lr": 2e-5, "batch": 8, "eta": 1.0} for r in records)


def test_dry_run_says_what_differs_and_which_weights() -> None:
    text = ablate(
        "a2inet", "--table", "6", "--row", "table6-sm-fgin-q-to-s", "--dry-run", "--official-weights",
        "--weights", "resnet34_iqa=/w/UNIQUE.pt",
    ).stdout  # fmt: skip
    assert text.splitlines() == [
        "table6-sm-fgin-q-to-s: table 6, FGIN Q→S, (S+M)",
        "  quality: resnet34_iqa, weights /w/UNIQUE.pt",
        "  semantic: slowfast_fast, weights slowfast-kinetics",
        "  head: semantic_dim=512, mode=fgin, direction=q_to_s",
    ]


def test_dry_run_needs_no_torch() -> None:
    code = (
        "import sys; from vqafast import cli; "
        "assert cli.run(['ablate', 'a2inet', '--table', '5', '--dry-run']) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["kvq", "--table", "4"], "invalid_argument", "model must be one of a2inet, got 'kvq'"),
        (["a2inet", "--table", "3", "--dry-run"], "invalid_argument", "table must be one of"),
        (["a2inet", "--table", "4"], "invalid_argument", "needs --dataset, got none"),
        (["a2inet", "--table", "4", "--dataset", "csv"], "invalid_argument", "needs --root, got none"),
        (["a2inet", "--table", "4", "--dry-run", "--weights", "resnet50"], "invalid_argument",
         "weights must be BACKBONE=SOURCE"),
        (["a2inet", "--table", "4", "--dry-run", "--weights", "vgg=x"], "invalid_argument", "got 'vgg=x'"),
        (["a2inet", "--table", "4", "--dry-run", "--row", "x"], "invalid_argument", "rows of table 4"),
        (["a2inet"], "invalid_argument", "--table"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: list[str], code: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vqafast.cli", "ablate", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_CODES[code]
    assert done.stderr.startswith(f"error[{code}]: ")
    assert message in done.stderr


def test_options_reach_the_runs_and_the_table_is_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from vqafast.training import ablation

    seen: dict[str, Any] = {}

    def fake(table: int, directory: Any, **options: Any) -> ablation.Ablation:
        seen.update(options, table=table, directory=directory)
        figures = {"srcc": 0.25, "plcc": 0.5, "krcc": 0.2, "rmse": 1.0}
        row = ablation.Row("table4-sq", "table 4, SQ", {"srcc": 0.8261, "plcc": 0.8224}, (figures,))
        return ablation.Ablation(4, "konvid1k", (row,), random_backbones=True)

    monkeypatch.setattr(ablation, "ablate", fake)
    arguments = [
        "a2inet", "--table", 4, "--dataset", "konvid1k", "--root", tmp_path, "--splits", 3,
        "--row", "table4-sq", "--epochs", 9, "--seed", 5, "--random-backbones",
        "--weights", f"resnet34_iqa={tmp_path}/u=1.pt", "--out", tmp_path / "out",
    ]  # fmt: skip
    got = ablate(*arguments)
    assert got.exit_code == 0, got.stderr
    assert got.stdout.splitlines() == [
        "table 4, konvid1k, median of 3 splits",
        "row        PLCC paper  PLCC here  SRCC paper  SRCC here  SRCC lowest..highest",
        "table4-sq  0.8224      0.5000     0.8261      0.2500     0.2500..0.2500",
        "random backbones: these figures measure no quality",
    ]
    assert seen.pop("reporter") is not None
    assert seen == {
        "table": 4, "directory": tmp_path / "out", "splits": 3, "rows": ["table4-sq"],
        "weights": {"resnet34_iqa": f"{tmp_path}/u=1.pt"}, "dataset": "konvid1k", "root": str(tmp_path),
        "epochs": 9, "random_backbones": True, "seed": 5,
    }  # fmt: skip
    record = json.loads(ablate(*arguments, "--json").stdout)
    assert record["rows"][0]["median"]["srcc"] == 0.25
