"""Fused operators on arrays: NumPy or anything with ``__dlpack__`` in, NumPy out.

Every op carries its slow definition as ``op.reference`` (float64 NumPy). ``<op>_backward`` is the gradient of
an op, an op itself. `vqafast.ops._register`, imported explicitly, makes both `torch.ops.vqafast`.
"""

from vqafast.ops.cgin import cgin, cgin_backward
from vqafast.ops.fragment_sample import fragment_sample
from vqafast.ops.frame_ingest import frame_ingest
from vqafast.ops.hysteresis_pool import hysteresis_pool, hysteresis_pool_backward
from vqafast.ops.moment_pool import moment_pool, moment_pool_backward, moment_pool_workspace
from vqafast.ops.scene_statistics import scene_statistics

__all__ = [
    "cgin",
    "cgin_backward",
    "fragment_sample",
    "frame_ingest",
    "hysteresis_pool",
    "hysteresis_pool_backward",
    "moment_pool",
    "moment_pool_backward",
    "moment_pool_workspace",
    "scene_statistics",
]
