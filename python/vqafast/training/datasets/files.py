"""Finding label files and videos below a root, whatever folder their archives unpacked into."""

from __future__ import annotations

import os
from collections import defaultdict
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vqafast.errors import InvalidArgument, IsDirectory, MissingFile

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Containers that people convert the authors' files to, in the order in which they are looked for.
SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".y4m", ".yuv", ".png", ".jpg", ".jpeg", ".bmp")


class Tree:
    """The files below `root`, found by the end of their path without regard to case.

    Only what is below the root can be found: a label file cannot name anything else.

    Raises
    ------
    MissingFile, InvalidArgument
        When the root is not there, or not a directory.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.exists():
            raise MissingFile(f"{self.root}: no such directory", path=str(self.root))
        if not self.root.is_dir():
            raise InvalidArgument(f"{self.root}: the root of a dataset must be a directory", path=str(root))

    @cached_property
    def _files(self) -> list[PurePosixPath]:
        found = []
        for folder, folders, names in os.walk(self.root):
            folders.sort()
            relative = Path(folder).relative_to(self.root)
            found += [PurePosixPath(*relative.parts, name) for name in sorted(names)]
        return found

    @cached_property
    def _ends(self) -> dict[str, list[PurePosixPath]]:
        table: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path in self._files:
            for start in range(len(path.parts)):
                table["/".join(path.parts[start:]).casefold()].append(path)
        return table

    def video(self, *names: str) -> Path | None:
        """Return the file of the first of `names` that is there, else None.

        A name is the end of a path; with another container's suffix it counts too, after all exact
        names. When several files end alike, the one closest to the root is taken.

        Raises
        ------
        InvalidArgument
            When two files are equally close: they may be different videos.
        """
        spellings = [PurePosixPath(name.replace("\\", "/").removeprefix("./")) for name in names]
        for name in spellings:
            if found := self._one(name):
                return found
        for name in spellings:
            stem = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
            for suffix in SUFFIXES:
                if found := self._one(stem.parent / (stem.name + suffix)):
                    return found
        return None

    def _one(self, name: PurePosixPath) -> Path | None:
        found = self._ends.get(str(name).casefold(), [])
        if not found:
            return None
        depth = min(len(p.parts) for p in found)
        closest = [p for p in found if len(p.parts) == depth]
        if len(closest) > 1:
            raise InvalidArgument(
                f"{self.root}: one file must be named {name}, got {closest[0]} and {closest[1]}",
                path=str(self.root),
            )
        return self.root / closest[0]

    def labels(self, given: str | os.PathLike[str] | None, *patterns: str) -> Path:
        """Return the label file: `given`, or the first pattern that one file below the root matches.

        Raises
        ------
        MissingFile
            When it is not there; the message says which names were looked for.
        InvalidArgument
            When several files match: `given` must then say which.
        """
        if given is not None:
            return existing(given)
        found = self.find(*patterns)
        if found is None:
            raise MissingFile(
                f"{self.root}: a label file must be there ({', '.join(patterns)}), got none; "
                "name it with labels",
                path=str(self.root),
            )
        return found

    def find(self, *patterns: str) -> Path | None:
        """Return the one file whose name matches the first pattern that matches any, else None."""
        for pattern in patterns:
            found = [p for p in self._files if fnmatch(p.name.casefold(), pattern.casefold())]
            if len(found) > 1:
                raise InvalidArgument(
                    f"{self.root}: one file must match {pattern}, got {found[0]} and {found[1]}; "
                    "say which with labels",
                    path=str(self.root),
                )
            if found:
                return self.root / found[0]
        return None


def existing(path: str | os.PathLike[str]) -> Path:
    """`path`, checked to be a file."""
    result = Path(path)
    if result.is_dir():
        raise IsDirectory(f"{result}: a label file must be a file, got a directory", path=str(result))
    if not result.exists():
        raise MissingFile(f"{result}: no such file", path=str(result))
    return result


def stem(name: str) -> str:
    """`name` without the suffix of a video or picture; dots inside a name stay."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def first_found(tree: Tree, names: Sequence[str]) -> tuple[Path, bool]:
    """Path of the first of `names` that is there, and True; else where it was expected, and False."""
    found = tree.video(*names)
    return (found, True) if found else (tree.root / names[0], False)
