"""The pages keep their word: links lead somewhere, and the README's code runs as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.scoring.random_model import clip_file, model_directory

from vqafast import cli
from vqafast.models import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "csrc/ops/README.md"]


def blocks(page: str, language: str) -> Iterator[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    yield from (text for tag, text in fenced if tag == language)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_commands_exist() -> None:
    text = "\n".join(p.read_text() for p in PAGES)
    named = set(re.findall(r"(?:^|`|&& |\| )vqafast ([a-z]+)", text, re.M))
    assert {"score", "doctor"} <= named
    commands = [*cli.app.registered_commands, *cli.app.registered_groups]
    assert named <= {command.name for command in commands}


def test_readme_code_runs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_directory(tmp_path_factory)
    monkeypatch.setattr(registry, "_directory", lambda _: model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(clip_file(tmp_path_factory).read_bytes())
    planes = [np.zeros((1080, 1920), np.uint8), *(np.zeros((540, 960), np.uint8) for _ in range(2))]
    names = {"paths": ["clip.mp4"], "frames": [(planes, i) for i in range(20)]}
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), names)
    assert names["result"].segments  # type: ignore[attr-defined]
    assert names["stream"].finish().counts.scored == 2  # type: ignore[attr-defined]


def test_readme_shows_what_is_printed(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["score", str(clip_file(tmp_path_factory))]) == 0
    shown = next(block for block in blocks("README.md", "") if "higher is better" in block)

    def shape(text: str) -> str:
        return re.sub(r"[\d.]+", "0", text)

    assert shape(shown) == shape(capsys.readouterr().out)
