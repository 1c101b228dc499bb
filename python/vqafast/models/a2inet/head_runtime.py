"""From features of one window to frame scores: the exported head around the fused op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vqafast.errors import InvalidArgument, ModelError
from vqafast.ops import cgin

if TYPE_CHECKING:
    from vqafast.engines import Engine
    from vqafast.ops.cgin import Mode

    from ..spec import A2INetSpec

Float32 = NDArray[np.float32]


class HeadRuntime:
    """The heads of a model.

    Parameters
    ----------
    spec : A2INetSpec
    align : Engine or None
        The graph before CGIN; None for models without it.
    temporal : Engine
        The graph behind it, on the same device.
    threads : int
        Of the CPU.
    """

    def __init__(self, spec: A2INetSpec, align: Engine | None, temporal: Engine, threads: int) -> None:
        self._spec = spec
        self._align = align
        self._temporal = temporal
        self._arrays = temporal.arrays
        self._threads = threads

    def member_scores(self, quality: Float32, semantic: Float32, constant: Float32 | None) -> Float32:
        """Raw frame scores ``(K, T)`` of the K heads; see `A2INetRuntime.member_scores`."""
        spec = self._spec
        view = spec.bitstream
        names = () if view is None else view.features
        given = 0 if constant is None else constant.size
        if given != len(names):
            raise InvalidArgument(
                f"frame_scores: model {spec.name} needs {len(names)} bitstream features, got {given}"
            )
        steps = quality.shape[0]
        for name, array, dim in zip(
            ("quality", "semantic"), (quality, semantic), spec.picture_dims, strict=True
        ):
            if array.shape != (steps, dim) or steps < 1:
                raise InvalidArgument(
                    f"frame_scores: {name} must be (T, {dim}) with the same T >= 1, got {array.shape}"
                )
        if constant is not None and names:
            rows = np.broadcast_to(constant, (steps, given))
            quality, semantic = (np.concatenate([x, rows], axis=1) for x in (quality, semantic))
        load = self._arrays.load
        loaded = load(np.ascontiguousarray(quality[None], dtype=np.float32))
        fused = self._fuse(loaded, load(np.ascontiguousarray(semantic[None], dtype=np.float32)))
        # Kernel regressions beside the heads read the features themselves.
        inputs = {"fused": fused, "quality": loaded}
        scores = self._arrays.host(
            self._temporal.run({name: inputs[name] for name in self._temporal.inputs})["q"]
        )
        if scores.shape != (spec.members, steps) or not np.isfinite(scores).all():
            raise ModelError(
                f"model {spec.name}: temporal.onnx must give finite scores "
                f"({spec.members}, {steps}), got {scores.shape}"
            )
        return np.array(scores, dtype=np.float32)

    def _fuse(self, quality: Any, semantic: Any) -> Any:
        arrays = self._arrays
        if self._align is None:
            return arrays.concatenate([quality, semantic], axis=2)
        head = self._spec.head
        a = self._align.run({"quality": quality, "semantic": semantic})
        gammas = [a.get(n) for n in ("gamma_x", "theta_x", "gamma_y", "theta_y")]
        batch, steps, dim = a["x"].shape
        fused = cgin(
            a["x"],
            a["y"],
            *gammas,
            mode=cast("Mode", head.mode),
            eps=head.eps,
            threads=self._threads,
            stream=arrays.stream,
            out=arrays.empty((batch, steps, 2 * dim)),
        )
        # One-way deformation (table 6): the other feature is kept as it is.
        if head.direction == "s_to_q":
            fused[:, :, :dim] = a["x"]
        elif head.direction == "q_to_s":
            fused[:, :, dim:] = a["y"]
        return fused
