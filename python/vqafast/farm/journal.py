"""The output of a batch while it runs: JSON Lines that only grow, and an index of what is in them.

The lines are the truth. A kill may cut the last one short; it is removed when the journal is opened again.
The index, an SQLite file beside it, says quickly whether a file has its record; it is made anew from the
lines whenever it does not fit them. Every line is handed to the operating system before anything else is
done, so that a killed process loses nothing; it is forced to the disk every `SYNC_SECONDS` and at the end, so
that a power failure loses that much at most, and the same command does that much again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vqafast.errors import InvalidArgument, OutputError
from vqafast.farm.identity import digest_of
from vqafast.farm.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

SYNC_SECONDS = 1.0
# Records between commits of the index; it is only a copy of what the lines say.
_COMMIT = 1000
_TABLES = """
create table if not exists seen (
    path blob primary key, key text not null, offset integer not null, code text, score real, run integer
) without rowid;
create table if not exists state (
    only integer primary key check (only = 0), offset integer, identity text, run integer
);
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal says of a path.

    Attributes
    ----------
    key : str
        Of its last record.
    code : str or None
        Of the error, if it failed.
    new : bool
        The record was added since the journal was opened.
    """

    key: str
    code: str | None
    new: bool


class Journal:
    """Records of a batch, for one writer; open it with ``with``.

    Parameters
    ----------
    path : path
        The JSON Lines; made if it is missing.
    fresh : bool
        Begin anew: what is there is removed.

    Raises
    ------
    InvalidArgument
        When another process writes to it, or it holds something else than records.
    OutputError
        When it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, fresh: bool = False) -> None:
        self.path = Path(path)
        self.index = self.path.with_name(f"{self.path.name}.index")
        with _told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._synced = time.monotonic()
        self._pending, self._indexed, self._entering, self._run = 0, 0, 0, 0
        self._database = sqlite3.connect(":memory:")
        try:
            _lock(self._file, self.path)
            if fresh:
                os.ftruncate(self._file, 0)
            self._end = self._whole_lines()
            self._catch_up(fresh)
        except BaseException:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Force everything to the disk and give the file free."""
        with contextlib.suppress(sqlite3.Error):
            self._commit()
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        self._release()

    def _release(self) -> None:
        self._database.close()
        os.close(self._file)

    def known(self, path: str) -> Known | None:
        """What is known of `path`; None for nothing."""
        query = "select key, code, run from seen where path = ?"
        row = self._database.execute(query, (digest_of(path),)).fetchone()
        return None if row is None else Known(row[0], row[1], row[2] == self._run)

    def add(self, record: Record) -> None:
        """Append a record; an older one of the same path does not count any more.

        Raises
        ------
        OutputError
            When it cannot be written, a full disk for example. Nothing of it stays.
        """
        line = record.to_json().encode("utf-8", "surrogateescape") + b"\n"
        with _told(self.path):
            try:
                _write_all(self._file, line)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._end)
                raise
            self._end += len(line)
            self._enter(record, self._end - len(line), self._end)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()

    def sync(self) -> None:
        """Force what was added to the disk."""
        with _told(self.path):
            os.fsync(self._file)
        self._synced = time.monotonic()

    def records(self) -> Iterator[Record]:
        """The last record of every path, in the order in which they were added."""
        self._commit()
        offsets = self._database.execute("select offset from seen order by offset")
        with self.path.open("rb") as file:
            for (offset,) in offsets:
                file.seek(offset)
                yield _parsed(file.readline(), self.path)

    def counts(self) -> dict[str, int]:
        """Number of records by error code; "scored" for those without one."""
        rows = self._database.execute(
            "select coalesce(code, 'scored'), count(*) from seen group by 1 order by 1"
        )
        return {str(code): int(count) for code, count in rows}

    def scores(self) -> Iterator[float]:
        """Scores in rising order."""
        for (score,) in self._database.execute(
            "select score from seen where score is not null order by score"
        ):
            yield float(score)

    def compact(self) -> None:
        """Drop records that do not count any more, by writing the others anew; a kill leaves the old file."""
        total = self._database.execute("select count(*) from seen").fetchone()[0]
        with self.path.open("rb") as file:
            if sum(1 for _ in file) == total:
                return
        part = self.path.with_name(f".{self.path.name}.part")
        with _told(self.path):
            with part.open("wb") as out:
                for record in self.records():
                    out.write(record.to_json().encode("utf-8", "surrogateescape") + b"\n")
                out.flush()
                os.fsync(out.fileno())
            # The lock belongs to the file: it must be on the new one before the name is.
            fresh = os.open(part, os.O_RDWR | os.O_APPEND)
            _lock(fresh, self.path)
            part.replace(self.path)
        self._release()
        self._file = fresh
        self._end = os.fstat(self._file).st_size
        self._catch_up(True)

    def _whole_lines(self) -> int:
        """Cut off a last line that a kill left without its end, and give the length of the others."""
        size = os.fstat(self._file).st_size
        end, step = size, 1 << 16
        while end > 0:
            begin = max(0, end - step)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        if end < size:
            with _told(self.path):
                os.ftruncate(self._file, end)
        return end

    def _opened(self, fresh: bool) -> sqlite3.Connection:
        if fresh:
            self.index.unlink(missing_ok=True)
        try:
            return self._connected()
        except sqlite3.DatabaseError:
            self.index.unlink(missing_ok=True)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.index)
        try:
            # The lines are the truth: no need to wait for the disk.
            database.execute("pragma synchronous = off")
            database.execute("pragma journal_mode = memory")
            database.executescript(_TABLES)
            state = database.execute("select offset, identity from state").fetchone()
            if state is not None and (state[0] > self._end or state[1] != self._identity(state[0])):
                database.executescript("delete from seen; delete from state;")
        except BaseException:
            database.close()
            raise
        return database

    def _identity(self, offset: int) -> str:
        """What tells these lines up to `offset` from others: the last ones of them."""
        begin = max(0, offset - 256)
        return os.pread(self._file, offset - begin, begin).hex()

    def _catch_up(self, fresh: bool) -> None:
        """Open the index and enter the lines that it does not know."""
        self._database.close()
        self._database = self._opened(fresh)
        state = self._database.execute("select offset, run from state").fetchone()
        self._indexed, self._run = (0, 1) if state is None else (int(state[0]), int(state[1]) + 1)
        # Lines of earlier processes are of no run.
        self._entering = 0
        with self.path.open("rb") as file:
            file.seek(self._indexed)
            for line in file:
                self._enter(_parsed(line, self.path), self._indexed, self._indexed + len(line))
        self._entering = self._run
        self._commit()

    def _enter(self, record: Record, begin: int, end: int) -> None:
        self._database.execute(
            "insert or replace into seen values (?, ?, ?, ?, ?, ?)",
            (digest_of(record.path), record.key, begin, record.code, record.score, self._entering),
        )
        self._indexed = end
        self._pending += 1
        if self._pending >= _COMMIT:
            self._commit()

    def _commit(self) -> None:
        state = (self._indexed, self._identity(self._indexed), self._run)
        self._database.execute("insert or replace into state values (0, ?, ?, ?)", state)
        self._database.commit()
        self._pending = 0


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else str(error)
        raise OutputError(
            f"{path}: cannot be written: {why}; what is in it stays, and the same command goes on",
            path=str(path),
        ) from error


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _lock(file: int, path: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidArgument(f"{path}: must have one writer, and another process is writing it") from error


def _parsed(line: bytes, path: Path) -> Record:
    try:
        return Record.from_json(line.decode("utf-8", "surrogateescape"))
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: must hold records of a batch: {error}", path=str(path)) from error
