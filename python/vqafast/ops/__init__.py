"""Fused operators on arrays: NumPy or anything with ``__dlpack__`` in, NumPy out.

Every op carries its slow definition as ``op.reference`` (float64 NumPy).
"""

from vqafast.ops.cgin import cgin
from vqafast.ops.hysteresis_pool import hysteresis_pool
from vqafast.ops.moment_pool import moment_pool

__all__ = [
    "cgin",
    "hysteresis_pool",
    "moment_pool",
]
