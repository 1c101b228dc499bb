"""The model card holds the figures of the embedded models, and none of them is stale."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from vqafast.errors import InvalidArgument
from vqafast.models.registry import BUILTIN
from vqafast.training.lite import card

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "docs/model_card.md"


@pytest.fixture(scope="module")
def figures():
    return card.read_figures(ROOT / "python/vqafast/weights" / name for name in BUILTIN)


def test_the_card_is_what_the_models_say(figures):
    text = CARD.read_text(encoding="utf-8")
    assert card.fill(text, figures) == text


def test_a_changed_figure_is_seen(figures):
    text = CARD.read_text(encoding="utf-8")
    changed = json.loads(json.dumps(figures))
    changed["a2inet-lite"]["cross_validation"]["by_codec"]["h264"]["srcc"] -= 0.01
    assert card.fill(text, changed) != text


def test_a_lost_marker_is_an_error(figures):
    text = CARD.read_text(encoding="utf-8").replace("<!-- figures: uncertainty -->", "")
    with pytest.raises(InvalidArgument, match="must hold <!-- figures: uncertainty -->"):
        card.fill(text, figures)


def test_the_diagram_is_drawn(figures, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "reliability.svg"
    card.diagram(figures["a2inet-lite"], out)
    assert out.read_text(encoding="utf-8").count("<use") >= len(
        figures["a2inet-lite"]["cross_validation"]["reliability"]
    )
