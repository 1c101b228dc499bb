"""Which file a request means, and that it lies under the folder that is served."""

from __future__ import annotations

import os

from vqafast.errors import HostileInput, InvalidArgument, MissingFile
from vqafast.farm.service.errors import OutsideRoot
from vqafast.video.open import is_url


class Root:
    """The folder that is served; nothing outside it is opened, or said to exist.

    Links and ``..`` are followed before the check. A file that is put in place of another between check and
    opening is opened: whoever may write below the folder decides what is in it anyway.

    Raises
    ------
    MissingFile
        When there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.realpath(folder)
        if not os.path.isdir(self.folder):
            raise MissingFile(f"serve: root must be a folder, got {os.fspath(folder)!r}", path=self.folder)

    def find(self, path: str) -> str:
        """Absolute path of what `path`, relative to the folder or absolute, leads to.

        Raises
        ------
        OutsideRoot
            For whatever does not lie in the folder, whether or not it exists.
        HostileInput
            For a URL.
        InvalidArgument
        """
        if not path or "\0" in path:
            raise InvalidArgument("path: must be a non-empty string without NUL characters")
        if is_url(path):
            raise HostileInput(f"{path}: must be a file below the root, got a URL; nothing is fetched")
        try:
            found = os.path.realpath(os.path.join(self.folder, path))
            inside = os.path.commonpath([self.folder, found]) == self.folder
        except (ValueError, OSError):
            inside = False
        if not inside:
            raise OutsideRoot(f"{path}: must lie below the root")
        return found
