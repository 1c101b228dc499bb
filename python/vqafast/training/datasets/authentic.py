"""Readers of the datasets with authentic distortions and one MOS a video."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from vqafast.errors import InvalidArgument
from vqafast.training.datasets import matlab, tables
from vqafast.training.datasets.files import Tree, first_found, stem
from vqafast.training.datasets.item import VideoDataset, VideoItem, assemble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vqafast.training.splits import Split

#: (name, MOS, other facts) of each row of a label file.
Row = tuple[str, float, dict[str, Any]]


def collect(
    name: str,
    title: str,
    tree: Tree,
    labels: Path,
    rows: Sequence[Row],
    *,
    group: Callable[[str], str] = stem,
    files: Callable[[str], list[str]] = lambda n: [n],
    split: Callable[[str], str] = lambda _: "",
    splits: tuple[Split, ...] | None = None,
) -> VideoDataset:
    """Look up the file of every row and assemble the dataset.

    `files` gives the names under which a video may lie on disk, best first; `group` its content.
    """
    items, missing = [], []
    for listed, mos, extra in rows:
        path, there = first_found(tree, files(listed))
        if not there:
            missing.append(listed)
        items.append(VideoItem(listed, path, mos, group(listed), split(listed), dict(extra)))
    return assemble(name, title, items, labels, missing=missing, splits=splits)


def plain(path: Path) -> list[Row]:
    """Rows of a FAST-VQA list."""
    return [(name, mos, {}) for name, mos in tables.read_list(path)]


def _info(path: Path) -> tuple[list[Row], tuple[Split, ...]]:
    info = matlab.read_info(path)
    rows: list[Row] = [(n, float(s), {}) for n, s in zip(info.names, info.scores, strict=True)]
    return rows, info.splits


def cvd2014(tree: Tree, labels: Path | None) -> VideoDataset:
    """CVD2014: 234 videos of 5 scenes by 78 cameras (Nuutinen et al., IEEE TIP 2016).

    Reads the authors' ``CVD2014_ratings/Realignment_MOS.csv`` (semicolons, decimal commas, padding
    rows; columns Content, File_name, Original MOS, Realignment MOS), VSFA's info file with published
    splits, or FAST-VQA's list. A video lies at ``Test1/City/Test01_City_D01.avi``. The MOS is the
    realigned one, as everywhere in the literature. The group is the scene, of which there are 5.

    https://zenodo.org/records/2646315; the file as kept in
    https://github.com/winwinwenwen77/ModularBVQA (data/CVD2014_Realignment_MOS.csv).
    """
    path = tree.labels(labels, "*Realignment_MOS.csv", "CVD2014info.mat", "CVD2014.txt")
    splits = None
    if path.suffix.lower() == ".mat":
        rows, splits = _info(path)
    elif path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        table = tables.read_csv(path)
        file, content = tables.column(table, path, "File_name"), tables.column(table, path, "Content")
        mos = tables.column(table, path, "Realignment MOS")
        rows = []
        for row in table:
            test = re.match(r"Test0?(\d+)_", row[file])
            if not test:
                raise InvalidArgument(f"{path.name}: a File_name must begin with TestNN_, got {row[file]!r}")
            folder = row[content].replace(" ", "_")
            value = tables.number_of(row[mos], f"{path.name}: {row[file]}", ",")
            rows.append((f"Test{test[1]}/{folder}/{row[file]}.avi", value, {"test": int(test[1])}))
    return collect("cvd2014", "CVD2014", tree, path, rows, group=scene_cvd2014, splits=splits)


def scene_cvd2014(name: str) -> str:
    """Scene of a CVD2014 video: city, newspaper, talking_head, television or traffic."""
    match = re.match(r"Test\d+_(.+)_D\d+$", stem(PurePosixPath(name).name))
    return match[1].casefold() if match else stem(name)


def live_qualcomm(tree: Tree, labels: Path | None) -> VideoDataset:
    """LIVE-Qualcomm mobile in-capture: 208 videos of 54 scenes (Ghadiyaram et al., IEEE TCSVT 2018).

    Reads the authors' ``qualcommSubjectiveData.mat`` (``qualcommSubjectiveData.unBiasedMOS``,
    ``qualcommVideoData.vidNames``, ``.distortionNames``, ``.distortionType`` from 1 on), VSFA's info
    file, or FAST-VQA's list. Videos are raw 1920x1080 YUV 4:2:0 without a header, in a folder for each
    distortion; files converted to another container under the same name are found too. The group is
    the scene, the start of the name up to the camera: that gives the 54 scenes the authors count.

    https://live.ece.utexas.edu/research/incaptureDatabase/; names of the variables as used by
    https://github.com/lidq92/VSFA (data/data_info_maker.m).
    """
    path = tree.labels(labels, "qualcommSubjectiveData.mat", "LIVE-Qualcomminfo.mat", "LIVE_Qualcomm.txt")
    splits = None
    if path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        data = matlab.read_mat(path)
        if matlab.is_info(data):
            rows, splits = _info(path)
        else:
            rows = _qualcomm_rows(data, path)
    return collect("live_qualcomm", "LIVE-Qualcomm", tree, path, rows, group=scene_qualcomm, splits=splits)


def _qualcomm_rows(data: dict[str, Any], path: Path) -> list[Row]:
    try:
        video, subjective = data["qualcommVideoData"], data["qualcommSubjectiveData"]
        names = matlab.texts(video["vidNames"])
        kinds = matlab.texts(video["distortionNames"])
        kind = np.asarray(video["distortionType"], dtype=np.int64).ravel() - 1
        scores = np.asarray(subjective["unBiasedMOS"], dtype=np.float64).ravel()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidArgument(
            f"{path.name}: must hold qualcommVideoData and qualcommSubjectiveData.unBiasedMOS, got {error}"
        ) from error
    if not (len(names) == len(kind) == len(scores) and set(kind) <= set(range(len(kinds)))):
        raise InvalidArgument(
            f"{path.name}: names, distortions and scores must be as many, got "
            f"{len(names)}, {len(kind)} and {len(scores)}"
        )
    return [
        (f"{kinds[k]}/{n}", float(s), {"distortion": kinds[k]})
        for n, k, s in zip(names, kind, scores, strict=True)
    ]


def scene_qualcomm(name: str) -> str:
    """Scene of a LIVE-Qualcomm video: the start of its name up to the camera, in lower case."""
    first, _, rest = PurePosixPath(name).name.partition("_")
    # "0911driving_5s" names the scene with the date, "0723_ManUnderTree_GS5" after it.
    scene = first if re.search(r"[A-Za-z]", first) else f"{first}_{rest.split('_')[0]}"
    return scene.casefold()


def live_vqc(tree: Tree, labels: Path | None) -> VideoDataset:
    """LIVE-VQC: 585 videos, each its own content (Sinno and Bovik, IEEE TIP 2019).

    Reads the authors' ``data.mat`` (``video_list``, ``mos``) or FAST-VQA's list; videos lie in
    ``Video/``. https://live.ece.utexas.edu/research/LIVEVQC/
    """
    path = tree.labels(labels, "data.mat", "LIVE*VQC*.mat", "LIVE_VQC.txt")
    if path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        data = matlab.read_mat(path)
        if not {"video_list", "mos"} <= set(data):
            raise InvalidArgument(f"{path.name}: must hold video_list and mos, got {', '.join(data)}")
        names = matlab.texts(data["video_list"])
        scores = np.asarray(data["mos"], dtype=np.float64).ravel()
        if len(names) != len(scores):
            raise InvalidArgument(
                f"{path.name}: video_list and mos must be as many, got {len(names)} and {len(scores)}"
            )
        rows = [(f"Video/{n}", float(s), {}) for n, s in zip(names, scores, strict=True)]
    return collect("live_vqc", "LIVE-VQC", tree, path, rows, files=_with_basename)


def _with_basename(name: str) -> list[str]:
    return [name, PurePosixPath(name).name]


def konvid1k(tree: Tree, labels: Path | None) -> VideoDataset:
    """KoNViD-1k: 1,200 videos from Flickr, each its own content (Hosu et al., QoMEX 2017).

    Reads the authors' ``KoNViD_1k_attributes.csv`` (flickr_id, file_name, MOS), their
    ``KoNViD_1k_mos.csv`` (flickr_id, mos), VSFA's info file or FAST-VQA's list. Newer archives name
    a video ``KoNViD_1k_videos/<flickr_id>.mp4``, older ones ``<flickr_id>_<type>_centercrop_960x540_8s.mp4``;
    both are found.

    https://database.mmsp-kn.de/konvid-1k-database.html; the table as kept in
    https://github.com/lorenzowu/SIONR (data/KoNViD_1k_attributes.csv).
    """
    path = tree.labels(
        labels, "KoNViD_1k_mos.csv", "KoNViD_1k_attributes.csv", "KoNViD-1kinfo.mat", "KoNViD.txt"
    )
    splits = None
    if path.suffix.lower() == ".mat":
        rows, splits = _info(path)
    elif path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        table = tables.read_csv(path)
        key, mos = tables.column(table, path, "flickr_id"), tables.column(table, path, "MOS")
        named = tables.column(table, path, "file_name") if tables.has_column(table, "file_name") else None
        rows = []
        for row in table:
            name = f"KoNViD_1k_videos/{_whole(row[key])}.mp4"
            facts: dict[str, Any] = {"file_name": row[named]} if named else {}
            rows.append((name, tables.number_of(row[mos], f"{path.name}: {row[key]}"), facts))
    older = {n: str(facts["file_name"]) for n, _, facts in rows if "file_name" in facts}

    def files(name: str) -> list[str]:
        identity = re.match(r"\d+", PurePosixPath(name).name)
        short = [f"{identity[0]}.mp4"] if identity else []
        return [name, PurePosixPath(name).name, *short, *([older[name]] if name in older else [])]

    return collect("konvid1k", "KoNViD-1k", tree, path, rows, files=files, splits=splits)


def _whole(text: str) -> str:
    # Spreadsheets turn the identifiers into floating point.
    return re.sub(r"\.0+$", "", text.strip())


def youtube_ugc(tree: Tree, labels: Path | None) -> VideoDataset:
    """YouTube-UGC: 20 s originals, each its own content (Wang et al., MMSP 2019).

    Reads the authors' workbook ``original_videos_MOS_for_YouTube_UGC_dataset.xlsx`` (sheet MOS;
    columns vid, category, MOS full), the same as CSV, or FAST-VQA's list. A vid may lie as
    ``<vid>_crf_10_ss_00_t_20.0.mp4`` (the H.264 set) or ``<vid>.mkv``. The authors rate more videos
    than can still be had: 001 uses 1,142, FAST-VQA's list has 1,147.

    https://media.withyoutube.com/
    """
    path = tree.labels(
        labels, "original_videos_MOS*.xlsx", "original_videos*.csv", "YouTubeUGC.txt", "YouTube*UGC*.csv"
    )
    if path.suffix.lower() == ".txt":
        rows = plain(path)
    else:
        table = tables.read_table(path, "MOS")
        vid, mos = tables.column(table, path, "vid"), tables.column(table, path, "MOS full", "MOS")
        category = tables.column(table, path, "category") if tables.has_column(table, "category") else None
        rows = [
            (r[vid], tables.number_of(r[mos], f"{path.name}: {r[vid]}"),
             {"category": r[category]} if category else {})
            for r in table
        ]  # fmt: skip
    return collect("youtube_ugc", "YouTube-UGC", tree, path, rows, group=_vid, files=_ugc_files)


def _vid(name: str) -> str:
    return re.sub(r"_crf_\d+_ss_\d+_t_[\d.]+$", "", stem(PurePosixPath(name).name))


def _ugc_files(name: str) -> list[str]:
    vid = _vid(name)
    encoded = f"{vid}_crf_10_ss_00_t_20.0.mp4"
    return [name if name != vid else encoded, encoded, f"{vid}.mkv", f"{vid}.mp4"]
