"""What gpu_pipeline.py compares: two ways of decoding, and scoring with two expressions of the same model."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from gpu_case import exact_float32
from gpu_plain import PlainRuntime
from gpu_supervise import message

from vqafast.scoring.devices import gpu_index
from vqafast.scoring.scorer import Scorer
from vqafast.scoring.sharing import SharedRuntime
from vqafast.video.pyav import PyAVSource

if TYPE_CHECKING:
    from collections.abc import Callable

    Paths = list[str]
    Calls = dict[str, Callable[[Paths], Any]]


class Sides:
    """The decoder and both models on one device, loaded once for all files."""

    def __init__(self, device: str, videos: int) -> None:
        self.device, self.videos = device, videos
        self.gpu = gpu_index(device)
        self.ours = Scorer(device=device)
        self.threads = self.ours._run.threads

    @cached_property
    def plain(self) -> Scorer:
        """The pipeline of `Scorer`, with the model in plain PyTorch."""
        scorer = Scorer(device=self.device)
        # As many samples of several videos are computed together as in ours.
        scorer._runtime = SharedRuntime(PlainRuntime(self.device), self.ours._runtime.batch)
        return scorer

    def calls(self) -> Calls:
        """What is compared, by name."""
        return {
            "decode_all": partial(self._decoded, self._decode_all),
            "decode_same": partial(self._decoded, self._decode_same),
            "score": lambda paths: self.scored(self.ours, paths),
            "plain": self._plainly,
        }

    def _decoded(self, decode: Callable[[str], int], paths: Paths) -> list[int]:
        """Pictures of each."""
        with ThreadPoolExecutor(self.videos) as pool:
            counts = list(pool.map(decode, paths))
        if self.gpu is not None:
            torch.cuda.synchronize(self.gpu)
        return counts

    def _decode_all(self, path: str) -> int:
        """Decode every frame; nothing is converted or copied by us."""
        with PyAVSource(path, self.threads, gpu=self.gpu) as source:
            decoder = source._decoder
            frames = sum(len(decoder.decode(packet)) for packet in decoder.packets())
            return frames + len(decoder.decode(None))

    def _decode_same(self, path: str) -> int:
        """Decode what the samples need; they are not ingested."""
        with PyAVSource(path, self.threads, gpu=self.gpu) as source:
            for _ in source.frames(self.ours._runtime.selector()):
                pass
            return source.counts.decoded

    def scored(self, scorer: Scorer, paths: Paths, videos: int | None = None) -> list[Any]:
        """Assess them; the first error is raised."""
        outcomes = list(scorer.assess_many(paths, videos=videos or self.videos))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [outcome.assessment for outcome in outcomes]

    def _plainly(self, paths: Paths) -> list[Any]:
        with exact_float32():
            return self.scored(self.plain, paths)


def each(calls: Calls, paths: Paths, row: dict[str, Any]) -> dict[str, tuple[float, Any]]:
    """Seconds and result of every call; should plain PyTorch fail, it is left out from there on."""
    done = {}
    for name, call in list(calls.items()):
        begun = time.perf_counter()
        try:
            result = call(paths)
        except Exception as error:
            if name != "plain":
                raise
            row["plain_failed"] = message(error)
            del calls[name]
        else:
            done[name] = (time.perf_counter() - begun, result)
    return done
