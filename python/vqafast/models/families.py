"""The families of models there are, and what runs each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .spec import A2INetSpec

if TYPE_CHECKING:
    from .a2inet.runtime import A2INetRuntime
    from .spec import ModelSpec


def create_runtime(spec: ModelSpec, **options: Any) -> A2INetRuntime:
    """Load the graphs of a model.

    Parameters
    ----------
    spec : ModelSpec
        From `vqafast.models.registry.load`.
    **options
        ``engine``, ``threads``, ``precision``, ``seed``, ``device``, ``batch``; see `A2INetRuntime`.
    """
    assert isinstance(spec, A2INetSpec)
    from .a2inet.runtime import A2INetRuntime

    return A2INetRuntime(spec, **options)
