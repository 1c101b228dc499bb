"""The families of models there are, and what runs each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .clif_vqa.spec import ClifVqaSpec
from .fast_vqa.spec import FastVqaSpec
from .ksvqe.spec import KsvqeSpec
from .kvq.spec import KvqSpec
from .spec import A2INetSpec
from .vsfa.spec import VsfaSpec

if TYPE_CHECKING:
    from vqafast.engines import Shapes

    from .a2inet.runtime import A2INetRuntime
    from .clif_vqa.runtime import ClifVqaRuntime
    from .fast_vqa.runtime import FastVqaRuntime
    from .ksvqe.runtime import KsvqeRuntime
    from .kvq.runtime import KvqRuntime
    from .spec import ModelSpec
    from .vsfa.runtime import VsfaRuntime

    LoadedModel = A2INetRuntime | ClifVqaRuntime | FastVqaRuntime | KsvqeRuntime | KvqRuntime | VsfaRuntime


def create_runtime(spec: ModelSpec, **options: Any) -> LoadedModel:
    """Load the graphs of a model.

    Parameters
    ----------
    spec : ModelSpec
        From `vqafast.models.registry.load`.
    **options
        ``engine``, ``threads``, ``precision``, ``seed``, ``device``, ``batch``; see `A2INetRuntime`.
    """
    if isinstance(spec, A2INetSpec):
        from .a2inet.runtime import A2INetRuntime

        return A2INetRuntime(spec, **options)
    if isinstance(spec, ClifVqaSpec):
        from .clif_vqa.runtime import ClifVqaRuntime

        return ClifVqaRuntime(spec, **options)
    if isinstance(spec, FastVqaSpec):
        from .fast_vqa.runtime import FastVqaRuntime

        return FastVqaRuntime(spec, **options)
    if isinstance(spec, KsvqeSpec):
        from .ksvqe.runtime import KsvqeRuntime

        return KsvqeRuntime(spec, **options)
    if isinstance(spec, KvqSpec):
        from .kvq.runtime import KvqRuntime

        return KvqRuntime(spec, **options)
    assert isinstance(spec, VsfaSpec)
    from .vsfa.runtime import VsfaRuntime

    return VsfaRuntime(spec, **options)


def backbone_inputs(spec: ModelSpec, batch: int) -> dict[str, dict[str, Shapes]]:
    """Inputs of every backbone graph of a model, by the graph's name without ``.onnx``.

    `batch` is the number of samples in a call.
    """
    if isinstance(spec, A2INetSpec):
        from .views import backbone_shapes

        names = [name for name in ("quality", "semantic") if f"{name}.onnx" in spec.files]
        return {name: backbone_shapes(spec, name, batch) for name in names}
    if isinstance(spec, ClifVqaSpec):
        from .clif_vqa.runtime import input_shapes as both_shapes

        return both_shapes(spec)
    if isinstance(spec, FastVqaSpec):
        from .fast_vqa.runtime import input_shapes as clip_shapes

        return {"network": clip_shapes(spec.view)}
    if isinstance(spec, KsvqeSpec):
        from .ksvqe.runtime import input_shapes as fragment_shapes

        return {"network": fragment_shapes(spec)}
    if isinstance(spec, KvqSpec):
        from .kvq.runtime import input_shapes as picture_shapes

        return {"network": picture_shapes(spec.view)}
    from .vsfa.runtime import input_shapes as frame_shapes

    return {"backbone": frame_shapes(batch)}
