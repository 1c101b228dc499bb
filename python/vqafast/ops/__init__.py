"""Fused operators on arrays: NumPy or anything with ``__dlpack__`` in, NumPy out.

Every op carries its slow definition as ``op.reference`` (float64 NumPy).
"""

from vqafast.ops.cgin import cgin
from vqafast.ops.fragment_sample import fragment_sample
from vqafast.ops.frame_ingest import frame_ingest
from vqafast.ops.hysteresis_pool import hysteresis_pool
from vqafast.ops.moment_pool import moment_pool
from vqafast.ops.scene_statistics import scene_statistics

__all__ = [
    "cgin",
    "fragment_sample",
    "frame_ingest",
    "hysteresis_pool",
    "moment_pool",
    "scene_statistics",
]
