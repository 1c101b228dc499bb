"""The index of a synthesised data set: one JSON record a line, one line a labelled version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_index(path: Path, *, repair: bool = False) -> Iterator[dict[str, Any]]:
    """Records of an index; a last line cut short is left out.

    With `repair` it is removed from the file too: for the one process that appends, before it does.
    """
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    if repair and complete != text:
        path.write_text(complete, encoding="utf-8")
    for line in complete.splitlines():
        yield json.loads(line)
