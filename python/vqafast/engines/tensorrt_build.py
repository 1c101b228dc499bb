"""Builds a plan from an ONNX graph, in minutes that a signal can end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from vqafast.errors import EngineUnavailable, InvalidArgument, ModelError

from .tensorrt_library import started
from .tensorrt_shapes import by_profile

if TYPE_CHECKING:
    from .tensorrt_plan import Plan


def build(plan: Plan) -> bytes:
    """Build the plan; what a signal's handler raises meanwhile in the main thread arrives there.

    It would be lost in the thread that builds: the handler runs when TensorRT calls back, and the bindings
    drop what is raised then. So another thread builds, and is told to stop.
    """
    # Not join(): what interrupts it makes the thread look ended.
    stop, ended = threading.Event(), threading.Event()
    results: list[bytes] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            # Each thread has a device of its own.
            with plan.cuda.device(plan.arrays.device):
                results.append(_serialized(plan, _monitor(plan.trt, stop)))
        except BaseException as e:
            errors.append(e)
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="vqafast-tensorrt")
    try:
        thread.start()
        ended.wait()
    except BaseException:
        stop.set()
        # TensorRT asks between the kernels that it tries. Another signal does not wait for it.
        if thread.ident is not None:
            ended.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _monitor(trt: Any, stop: threading.Event) -> Any:
    """Make an IProgressMonitor that ends the build when `stop` is set."""
    base = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            del phase_name, step
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def _serialized(plan: Plan, monitor: Any) -> bytes:
    # The caller holds the monitor: it must outlive what is made here.
    trt, logger = plan.trt, plan.logger
    builder = started(trt.Builder, logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(plan.graph):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ModelError(f"TensorRT cannot read the ONNX graph: {errors or logger.last()}", path=plan.source)
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    config.builder_optimization_level = plan.key.optimization_level
    # What kernels may use for themselves; where they get less, slower ones are taken.
    free, _ = plan.cuda.mem_get_info()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(free) // 2)
    # TensorRT's default would round the inputs of f32 products to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Memory for the shapes of a call, instead of for the largest ones.
    config.set_preview_feature(trt.PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10, True)
    _add_profiles(plan, builder, network, config)
    _set_timing_cache(plan, config)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise EngineUnavailable(
            f"TensorRT cannot build this graph for {plan.key.gpu}: {logger.last()}", path=plan.source
        )
    measured = config.get_timing_cache()
    times = None if measured is None else measured.serialize()
    if times is not None:
        plan.cache.store_timing(plan.key, bytes(times))
    return bytes(built)


def _add_profiles(plan: Plan, builder: Any, network: Any, config: Any) -> None:
    wanted = plan.key.profiles
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    forms = {tensor.name: tuple(tensor.shape) for tensor in tensors}
    if unknown := sorted(set(wanted) - set(forms)):
        raise InvalidArgument(f"tensorrt: shapes must be of inputs {sorted(forms)}, got {unknown}")
    if missing := sorted(name for name, form in forms.items() if -1 in form and name not in wanted):
        raise InvalidArgument(f"tensorrt: inputs with dynamic dimensions need shapes, got none for {missing}")
    for ranges in by_profile(wanted):
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            three = (shapes.smallest, shapes.usual, shapes.largest)
            if not all(_fits(shape, forms[name]) for shape in three):
                raise InvalidArgument(
                    f"tensorrt: shapes of input {name!r} must have the form {forms[name]}, got {three}"
                )
            try:
                profile.set_shape(name, *three)
            except (RuntimeError, ValueError) as e:
                raise InvalidArgument(f"tensorrt: shapes were not taken: {e} {plan.logger.last()}") from e
        if config.add_optimization_profile(profile) < 0:
            raise InvalidArgument(f"tensorrt: shapes were not taken: {plan.logger.last()}")


def _set_timing_cache(plan: Plan, config: Any) -> None:
    # None for a file that is none of TensorRT's; refused when it is another version's.
    timing = config.create_timing_cache(plan.cache.timing(plan.key))
    if timing is None or not config.set_timing_cache(timing, False):
        empty = config.create_timing_cache(b"")
        if empty is not None:
            config.set_timing_cache(empty, False)


def _fits(shape: tuple[int, ...], form: tuple[int, ...]) -> bool:
    return len(shape) == len(form) and all(f in (-1, d) for f, d in zip(form, shape, strict=True))
