"""MATLAB files: what scipy reads (up to version 7) and the HDF5 ones (7.3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import EngineUnavailable, InvalidArgument
from vqafast.training.splits import published_splits

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vqafast.training.splits import Split

_HDF5 = b"MATLAB 7.3"


def read_mat(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Variables by name: arrays as MATLAB shows them, structs as dicts, text as str, cells as lists.

    Raises
    ------
    InvalidArgument
        When the file is no MATLAB file.
    EngineUnavailable
        When it is of version 7.3 and h5py is not installed.
    """
    file = Path(path)
    with file.open("rb") as opened:
        head = opened.read(len(_HDF5))
    if head == _HDF5:
        return _read_hdf5(file)
    from scipy.io import loadmat

    try:
        data = loadmat(file, simplify_cells=True)
    except (ValueError, TypeError, NotImplementedError, OSError) as error:
        raise InvalidArgument(f"{file.name}: must be a MATLAB file, got {error}", path=str(file)) from error
    return {key: value for key, value in data.items() if not key.startswith("__")}


def _read_hdf5(file: Path) -> dict[str, Any]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"{file.name}: a MATLAB 7.3 file needs h5py: pip install 'vqafast[train]'", path=str(file)
        ) from error
    try:
        with h5py.File(file, "r") as opened:
            return {key: _value(opened[key], opened) for key in opened if key != "#refs#"}
    except OSError as error:
        raise InvalidArgument(
            f"{file.name}: must be a MATLAB 7.3 file, got {error}", path=str(file)
        ) from error


def _value(node: Any, file: Any) -> Any:
    """Return one variable; `node` is a group (struct) or a data set (everything else)."""
    if hasattr(node, "keys"):
        return {key: _value(node[key], file) for key in node}
    kind = node.attrs.get("MATLAB_class", b"")
    data = node[()]
    if kind == b"cell":
        return [_value(file[reference], file) for reference in data.T.ravel()]
    if node.attrs.get("MATLAB_empty", 0):
        return "" if kind == b"char" else np.empty(0)
    if kind == b"char":
        return "".join(chr(code) for code in data.T.ravel(order="C"))
    # HDF5 stores the transpose of a MATLAB matrix.
    return np.asarray(data).T


def texts(value: Any) -> list[str]:
    """Return the strings of a cell array, or the one string that a cell array of one became."""
    return [str(v) for v in np.asarray(value, dtype=np.object_).ravel()]


@dataclass(frozen=True, slots=True)
class Info:
    """An info file of VSFA: names, MOS and published splits.

    Attributes
    ----------
    names : list of str, N
    scores : (N,) float64
    reference_ids : (N,) float64
    splits : tuple of Split, as many as ``index`` has columns
    """

    names: list[str]
    scores: NDArray[np.float64]
    reference_ids: NDArray[np.float64]
    splits: tuple[Split, ...]


def is_info(data: Mapping[str, Any]) -> bool:
    """Whether the variables are those of an info file."""
    return {"video_names", "scores", "index", "ref_ids"} <= set(data)


def info_of(data: Mapping[str, Any], where: str) -> Info:
    """Take an info file's variables apart, and check them.

    Layout: ``data/data_info_maker.m`` of https://github.com/lidq92/VSFA, kept by
    https://github.com/zwx8981/BVQA-2021: ``video_names`` (N cells), ``scores`` (N), ``ref_ids`` (N),
    ``index``, one permutation a split. A file may hold ``index`` either way up.
    """
    if not is_info(data):
        raise InvalidArgument(
            f"{where}: an info file must hold video_names, scores, index and ref_ids, got {', '.join(data)}"
        )
    names = texts(data["video_names"])
    scores = np.asarray(data["scores"], dtype=np.float64).ravel()
    ids = np.asarray(data["ref_ids"], dtype=np.float64).ravel()
    if not len(names) == len(scores) == len(ids):
        raise InvalidArgument(
            f"{where}: names, scores and ref_ids must be as many, got {len(names)}, {len(scores)}, {len(ids)}"
        )
    index = np.asarray(data["index"], dtype=np.float64)
    if index.ndim != 2 or len(names) not in index.shape:
        raise InvalidArgument(f"{where}: index must have a side of {len(names)}, got {index.shape}")
    if index.shape[1] == len(names) and set(index[0]) >= set(ids):
        index = index.T
    return Info(names, scores, ids, published_splits(index, ids))


def read_info(path: str | os.PathLike[str]) -> Info:
    """Read an info file; see `info_of`."""
    return info_of(read_mat(path), Path(path).name)
