"""The names and parameters that the engine uses of TensorRT, held against the real package.

``tensorrt_lean`` is the runtime without the builder, and a real wheel. In a venv of its own::

    pip install --no-deps tensorrt-lean-cu13==11.4.* tensorrt-lean-cu13-libs==11.4.* \
        tensorrt-lean-cu13-bindings==11.4.*

It lacks ``Builder``, ``IBuilderConfig``, ``INetworkDefinition``, ``ITensor``, ``OnnxParser`` and
``NetworkDefinitionCreationFlag``. Their names were read in:

- NVIDIA/TensorRT on GitHub, ``python/src/infer/pyCore.cpp`` (10.x): Builder(logger), create_network(flags),
  create_builder_config(), create_optimization_profile(), build_serialized_network(network, config);
  IBuilderConfig.builder_optimization_level, set_memory_pool_limit(pool, pool_size), clear_flag(flag),
  add_optimization_profile(profile), create_timing_cache(serialized_timing_cache),
  set_timing_cache(cache, ignore_mismatch), get_timing_cache(); NetworkDefinitionCreationFlag.STRONGLY_TYPED
- the Python API manual of TensorRT 10, infer/Graph: INetworkDefinition.num_inputs, get_input(index);
  ITensor.name, shape. From memory, and so to be seen on a real builder first
- the same, ``python/src/parsers/pyOnnx.cpp``: OnnxParser(network, logger), parse(model), num_errors,
  get_error(index), and that errors have a ``__str__``
- docs.nvidia.com/deeplearning/tensorrt/11.0.0/_static/python-api/infer/Core/Builder.html: STRONGLY_TYPED is
  still there in 11, and ignored
- docs.nvidia.com/deeplearning/tensorrt/11.4.0/api/migration/tensorrt-10x-to-11x-python-api-reference.html:
  none of these names is among those removed
- docs.nvidia.com/deeplearning/tensorrt/11.4.1/_static/c-api/classnvinfer1_1_1_i_builder_config-members.html
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

trt = pytest.importorskip("tensorrt_lean")
pytest.importorskip("onnx")
pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Script, fake_tensorrt  # noqa: E402

from vqafast.engines import tensorrt_engine  # noqa: E402
from vqafast.engines.cuda_driver import probe  # noqa: E402
from vqafast.engines.tensorrt_library import collector  # noqa: E402

BUILDER_ONLY = {
    "Builder",
    "IBuilderConfig",
    "INetworkDefinition",
    "OnnxParser",
    "NetworkDefinitionCreationFlag",
}


def used() -> set[str]:
    """Every ``trt.Name`` and ``trt.Name.member`` in the engine's sources; ``base`` is ``trt.ILogger``."""
    chains = set()
    for path in Path(str(tensorrt_engine.__file__)).parent.glob("tensorrt_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                text = re.sub(r"^base\.", "trt.ILogger.", ast.unparse(node))
                found = re.fullmatch(r"(?:self\.|plan\.)?trt\.(\w+(?:\.\w+)?)", text)
                if found:
                    chains.add(found[1])
    return chains


def test_names_in_the_sources() -> None:
    names = used()
    assert {"Runtime", "TensorIOMode.OUTPUT", "ILogger.WARNING", "BuilderFlag.TF32", "Builder"} <= names
    for name in sorted(names - {"ILogger.__init__"}):
        first, _, member = name.partition(".")
        if first in BUILDER_ONLY:
            assert not hasattr(trt, first), f"the lean package has {first} now: check it here"
            continue
        assert hasattr(trt, first), name
        assert not member or hasattr(getattr(trt, first), member), name


def public(kind: Any) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_")]


def overloads(function: Any) -> list[list[str]]:
    """Names of the parameters, without self, from what pybind11 writes into the docstring."""
    lines = re.findall(rf"^(?:\d+\. )?{function.__name__}\(self: [^,)]+(.*)\) -> ", function.__doc__, re.M)
    return [re.findall(r", (\w+): ", line) for line in lines]


def test_the_stand_in_has_no_other_names() -> None:
    """So that code which passes with the stand-in calls what there is, with arguments that it takes."""
    checked = set()
    for kind, fake in vars(fake_tensorrt(Script())).items():
        if kind in BUILDER_ONLY or kind == "__version__":
            continue
        real = getattr(trt, kind)
        for name in public(fake):
            assert hasattr(real, name), f"{kind}.{name}"
            ours, theirs = getattr(fake, name), getattr(real, name)
            if inspect.isfunction(ours) and kind != "ILogger":
                parameters = list(inspect.signature(ours).parameters)[1:]
                assert parameters in overloads(theirs), (kind, name, overloads(theirs))
                checked.add(name)
    assert {
        "deserialize_cuda_engine", "create_execution_context", "get_tensor_name", "get_tensor_mode",
        "get_tensor_dtype", "get_tensor_shape", "set_device_memory", "set_optimization_profile_async",
        "set_input_shape", "infer_shapes", "set_tensor_address", "execute_async_v3", "set_shape", "serialize",
    } == checked  # fmt: skip


def test_values() -> None:
    """What the code does with them: version, comparing, tuples of dimensions, keys of a dict."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.\d+)*", trt.__version__)
    assert trt.ILogger.ERROR in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)
    assert trt.ILogger.WARNING not in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)
    assert tuple(trt.Dims((2, -1, 4))) == (2, -1, 4)
    assert len({trt.DataType.FLOAT: 1, trt.DataType.HALF: 2}) == 2
    assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT


def test_messages_are_collected(capfd: pytest.CaptureFixture[str]) -> None:
    logger = collector(trt)
    logger.log(trt.ILogger.INFO, "chatter")
    assert not logger.failed()
    assert logger.last() == "it did not say why"
    logger.log(trt.ILogger.WARNING, "careful")
    assert not logger.failed()
    logger.log(trt.ILogger.ERROR, "bad\n")
    logger.log(trt.ILogger.INTERNAL_ERROR, "worse")
    assert logger.failed()
    assert logger.last() == "bad; worse"
    logger.log(trt.ILogger.WARNING, "careful")
    assert logger.last() == "careful"
    for i in range(100):
        logger.log(trt.ILogger.ERROR, str(i))
    assert logger.last().endswith("; 98; 99")
    assert len(logger.last()) < 100
    assert capfd.readouterr() == ("", "")


def test_a_runtime_without_a_driver_is_an_error() -> None:
    """The real one is made, logs why it cannot work, and would end the process when used."""
    if probe().gpus:
        pytest.skip("there is a driver")
    code = (
        "import tensorrt_lean as trt\n"
        "from vqafast.engines.tensorrt_library import collector, started\n"
        "try:\n"
        "    started(trt.Runtime, collector(trt))\n"
        "except Exception as e:\n"
        "    print(type(e).__name__, e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.match(r"EngineUnavailable TensorRT cannot start: .*CUDA initialization failure", done.stdout)
    assert done.stderr == ""
