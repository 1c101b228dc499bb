"""Backbone weights by path, by public name or by https address; fetched only when asked for.

Nothing is used before its SHA-256 is checked, and checkpoints are read without running code in
them. This module needs no torch; `load_backbone` imports it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from vqafast.errors import InvalidArgument, MissingFile, ModelError, Unreadable

from .official import LAYOUTS, OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

    from torch import nn

    Progress = Callable[[int, int | None], None]

MAX_BYTES = 2 << 30
_TIMEOUT = 30.0
_CHUNK = 1 << 20


class Response(Protocol):
    """What `urllib.request.urlopen` returns, as far as it is used here."""

    headers: Message

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""

    def close(self) -> None:
        """Give the connection up."""


def cache_directory() -> Path:
    """``$VQAFAST_CACHE``, else ``$XDG_CACHE_HOME/vqafast``, else ``~/.cache/vqafast``."""
    own = os.environ.get("VQAFAST_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vqafast"


def resolve(
    source: str | os.PathLike[str],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    opener: Callable[[str], Response] | None = None,
) -> Path:
    """Give the local file of weights, fetching it into the cache if need be.

    Parameters
    ----------
    source : str or path
        A name in `OFFICIAL`; an address ``https://...#sha256=<64 hex digits>``, where the fragment
        may be left out for the addresses in `OFFICIAL`; or a file.
    cache : path, optional
        Default: ``weights`` in `cache_directory`.
    progress : callable, optional
        Called with the bytes so far and, if the server says it, their total.
    opener : callable, optional
        Opens an https address. Default: urllib, which must not be redirected away from https.

    Raises
    ------
    InvalidArgument
        For an address that is not https or brings no checksum.
    MissingFile
        When there is no such file, or it cannot be fetched; says from where and to where.
    ModelError
        When the contents have another SHA-256, or are larger than stated or than `MAX_BYTES`.
    """
    text = os.fspath(source)
    folder = cache_directory() / "weights" if cache is None else cache
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        url, digest, size, file = _address(text)
    elif text in OFFICIAL:
        entry = OFFICIAL[text]
        if entry.url is None or entry.sha256 is None:
            raise MissingFile(
                f"weights {text}: must be fetched by hand from {entry.page} ({entry.origin}); "
                f"give the path of {entry.file}"
            )
        url, digest, size, file = entry.url, entry.sha256, entry.size, entry.file
    else:
        path = Path(text)
        if not path.is_file():
            raise MissingFile(
                f"weights must be a file, an https address or one of {sorted(OFFICIAL)}, got {text!r}",
                path=text,
            )
        return path
    target = folder / file
    if target.is_file():
        _check(target, digest, f"weights {target}", "remove it to fetch it again")
        return target
    _fetch(url, target, digest, size, progress, opener or _open)
    return target


def load_backbone(net: nn.Module, backbone: str, path: str | os.PathLike[str]) -> None:
    """Load a checkpoint strictly, in whichever of the backbone's public layouts it is.

    Parameters
    ----------
    net : torch.nn.Module
        Changed only when everything fits.
    backbone : str
        A key of `LAYOUTS`.

    Raises
    ------
    MissingFile, ModelError
    """
    from ..checkpoint import read_checkpoint
    from .loader import fit

    state = read_checkpoint(path)
    for layout in LAYOUTS[backbone]:
        if layout.marker in state:
            fit(net, state, Path(path), ignore=layout.ignore, prefix=layout.prefix, rename=layout.rename)
            return
    markers = [layout.marker for layout in LAYOUTS[backbone]]
    raise ModelError(
        f"checkpoint {Path(path).name} must be for {backbone} and hold one of {markers}, "
        f"got names such as {sorted(state)[:5]}",
        path=str(path),
    )


def _address(text: str) -> tuple[str, str, int | None, str]:
    """Address without fragment, SHA-256, size if known, and the name in the cache."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname:
        raise InvalidArgument(f"weights: an address must begin with https://, got {text!r}")
    url = parts._replace(fragment="").geturl()
    for entry in OFFICIAL.values():
        if url == entry.url and entry.sha256 is not None and not parts.fragment:
            return url, entry.sha256, entry.size, entry.file
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", parts.fragment)
    if match is None:
        raise InvalidArgument(
            f"weights: an address must end in #sha256= and the file's 64 hex digits, got {text!r}"
        )
    digest = match[1].lower()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(parts.path).rsplit("/", 1)[-1]).lstrip(".")
    # Two addresses may end in the same name, so what tells them apart is part of the cache's.
    return url, digest, None, f"{digest[:8]}-{name or 'weights'}"


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: http.client.HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        if urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"redirected away from https, to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str) -> Response:
    request = urllib.request.Request(url, headers={"User-Agent": "vqafast"})
    response: Response = urllib.request.build_opener(_HttpsOnly).open(request, timeout=_TIMEOUT)
    return response


def _fetch(
    url: str,
    target: Path,
    digest: str,
    size: int | None,
    progress: Progress | None,
    opener: Callable[[str], Response],
) -> None:
    remedy = f"put the file at {target}, or give its path"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as e:
        raise Unreadable(f"weights: the cache (VQAFAST_CACHE) must be writable, got {e}") from e
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            try:
                response = opener(url)
                try:
                    _copy(response, out, url, MAX_BYTES if size is None else size, progress)
                finally:
                    response.close()
            except (OSError, http.client.HTTPException) as e:
                raise MissingFile(f"weights: {url} could not be fetched ({e}); {remedy}") from e
        _check(partial, digest, f"weights from {url}", remedy)
        # Shown under its name only when it is whole; readers never meet a half file.
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(response: Response, out: IO[bytes], url: str, limit: int, progress: Progress | None) -> None:
    stated = response.headers.get("Content-Length")
    total = int(stated) if stated is not None and stated.isdecimal() else None
    done = 0
    while True:
        if max(done, total or 0) > limit:
            raise ModelError(
                f"weights from {url}: must be at most {limit} bytes, got {max(done, total or 0)}"
            )
        block = response.read(_CHUNK)
        if not block:
            break
        out.write(block)
        done += len(block)
        if progress is not None:
            progress(done, total)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _check(path: Path, digest: str, what: str, remedy: str) -> None:
    with path.open("rb") as f:
        got = hashlib.file_digest(f, "sha256").hexdigest()
    if got != digest:
        raise ModelError(f"{what} must have sha256 {digest}, got {got}; {remedy}")
