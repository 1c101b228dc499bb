"""The names and parameters that the engine uses of TensorRT, held against the real packages.

``tensorrt-cu13-bindings`` (1.3 MB) is TensorRT's Python module. Without TensorRT's libraries it can be
imported all the same, for its names, when libraries are there that have the same names and make nothing.

``tensorrt_lean`` is a runtime that works, without the builder. In a venv of its own::

    pip install --no-deps tensorrt-lean-cu13==11.4.* tensorrt-lean-cu13-libs==11.4.* \
        tensorrt-lean-cu13-bindings==11.4.*
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

from tests.engines.fake_tensorrt import Script, fake_tensorrt

from vqafast.engines import tensorrt_engine
from vqafast.engines.cuda_driver import probe

if TYPE_CHECKING:
    from collections.abc import Callable

STUB = """
#define MAKES_NOTHING(name) void *name(void) { return 0; }
MAKES_NOTHING(createInferBuilder_INTERNAL)
MAKES_NOTHING(createInferRefitter_INTERNAL)
MAKES_NOTHING(createInferRuntime_INTERNAL)
MAKES_NOTHING(createNvOnnxParser_INTERNAL)
MAKES_NOTHING(createNvOnnxParserRefitter_INTERNAL)
MAKES_NOTHING(getBuilderPluginRegistry)
MAKES_NOTHING(getPluginRegistry)
MAKES_NOTHING(getNvOnnxParserVersion)
MAKES_NOTHING(initLibNvInferPlugins)
"""
# In another process: the libraries stay loaded, and real ones may be wanted here.
LOADING = """
import ctypes, importlib.util, sys
for library in sys.argv[2:]:
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
trt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trt)
"""
DUMPING = """
import json
kinds = {name: kind for name, kind in vars(trt).items() if isinstance(kind, type)}
print(json.dumps({
    kind: {name: getattr(value, name).__doc__ or "" for name in dir(value)} for kind, value in kinds.items()
}))
"""
CONSTRUCTED = {"Builder", "ILogger", "IProgressMonitor", "OnnxParser", "Runtime"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Runs code with the real module as ``trt``, and gives what it prints."""
    found = importlib.util.find_spec("tensorrt_bindings")
    if found is None or found.origin is None:
        pytest.skip("needs tensorrt-cu13-bindings")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    directory = tmp_path_factory.mktemp("stub")
    (directory / "stub.c").write_text(STUB)
    module = Path(found.origin).with_name("tensorrt.so")
    needed = set(re.findall(rb"libnv(?:infer|infer_plugin|onnxparser)\.so\.\d+", module.read_bytes()))
    libraries = [str(directory / name.decode()) for name in sorted(needed)]
    for library in libraries:
        name = f"-Wl,-soname,{Path(library).name}"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-w", name, "-o", library, directory / "stub.c"], check=True
        )

    def run(code: str) -> str:
        command = [sys.executable, "-c", LOADING + code, str(module), *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def api(real: Callable[[str], str]) -> dict[str, dict[str, str]]:
    """Docstring of each name of each class."""
    names: dict[str, dict[str, str]] = json.loads(real(DUMPING))
    return names


def used() -> set[str]:
    """Every ``trt.Name`` and ``trt.Name.member`` in the engine's sources; ``base`` is a class of it."""
    chains = set()
    for path in Path(str(tensorrt_engine.__file__)).parent.glob("tensorrt_*.py"):
        text = path.read_text()
        base = re.search(r"base = trt\.(\w+)", text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute):
                name = ast.unparse(node)
                if base is not None:
                    name = re.sub(r"^base\.", f"trt.{base[1]}.", name)
                match = re.fullmatch(r"(?:self\.|plan\.)?trt\.(\w+(?:\.\w+)?)", name)
                if match:
                    chains.add(match[1])
    return chains


def test_names_in_the_sources(api: dict[str, dict[str, str]]) -> None:
    names, monitor = used(), "IProgressMonitor.__init__"
    assert {
        "Runtime", "TensorIOMode.OUTPUT", "ILogger.WARNING", "BuilderFlag.TF32", "Builder", "OnnxParser",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "MemoryPoolType.WORKSPACE", monitor,
        "PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10", "ExecutionContextAllocationStrategy.USER_MANAGED",
    } <= names  # fmt: skip
    for name in sorted(names - {"__version__"}):
        kind, _, member = name.partition(".")
        assert kind in api, name
        assert not member or member in api[kind], name


def public(kind: Any) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_")]


def overloads(name: str, documentation: str) -> list[list[tuple[str, bool]]]:
    """Parameters without self, and whether they can be left out, from what pybind11 writes."""
    lines = re.findall(rf"^(?:\d+\. )?{name}\(self: [\w.]+(?:, )?(.*)\) -> ", documentation, re.MULTILINE)
    split = [re.split(r", (?=\w+: )", line) if line else [] for line in lines]
    return [[(part.partition(":")[0], " = " in part) for part in parts] for parts in split]


def takes(documentation: str, name: str, given: list[str]) -> bool:
    """Whether a call with the parameters `given` is one of the overloads."""
    for parameters in overloads(name, documentation):
        names = [parameter for parameter, _ in parameters]
        left = parameters[len(given) :]
        if names[: len(given)] == given and all(optional for _, optional in left):
            return True
    return False


def test_the_stand_in_has_no_other_names(api: dict[str, dict[str, str]]) -> None:
    """So that code which passes with the stand-in calls what there is, with arguments that it takes."""
    checked: dict[str, set[str]] = {}
    for kind, fake in vars(fake_tensorrt(Script())).items():
        if kind == "__version__":
            continue
        for name in public(fake):
            assert name in api[kind], f"{kind}.{name}"
            ours = None if isinstance(fake, SimpleNamespace) else getattr(fake, name)
            if inspect.isfunction(ours):
                given = list(inspect.signature(ours).parameters)[1:]
                assert takes(api[kind][name], name, given), (kind, name, api[kind][name])
                checked.setdefault(kind, set()).add(name)
        if kind in CONSTRUCTED:
            given = [] if kind == "ILogger" else list(inspect.signature(fake.__init__).parameters)[1:]
            assert takes(api[kind]["__init__"], "__init__", given), (kind, api[kind]["__init__"])
    # What the stand-in makes of plain namespaces.
    assert {"name", "shape"} <= set(api["ITensor"])
    assert "__str__" in api["ParserError"]
    assert checked == {
        "Builder": {
            "create_network", "create_builder_config", "create_optimization_profile",
            "build_serialized_network",
        },
        "IBuilderConfig": {
            "set_memory_pool_limit", "clear_flag", "set_preview_feature", "add_optimization_profile",
            "create_timing_cache", "set_timing_cache", "get_timing_cache",
        },
        "ICudaEngine": {
            "create_execution_context", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype",
            "get_tensor_shape",
        },
        "IExecutionContext": {
            "set_device_memory", "set_optimization_profile_async", "set_input_shape", "infer_shapes",
            "get_tensor_shape", "set_tensor_address", "execute_async_v3",
            "update_device_memory_size_for_shapes",
        },
        "ILogger": {"log"},
        "INetworkDefinition": {"get_input"},
        "IOptimizationProfile": {"set_shape"},
        "IProgressMonitor": {"phase_start", "step_complete", "phase_finish"},
        "ITimingCache": {"serialize"},
        "OnnxParser": {"get_error", "parse"},
        "Runtime": {"deserialize_cuda_engine"},
    }  # fmt: skip


def test_values(real: Callable[[str], str]) -> None:
    """What the code does with them: comparing, tuples of dimensions, keys of a dict, flags."""
    real("""
assert trt.ILogger.ERROR in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)
assert trt.ILogger.WARNING not in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)
assert tuple(trt.Dims((2, -1, 4))) == (2, -1, 4)
assert len({trt.DataType.FLOAT: 1, trt.DataType.HALF: 2}) == 2
assert trt.TensorIOMode.INPUT != trt.TensorIOMode.OUTPUT
assert 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) in (1, 2)
""")


def test_messages_are_collected(real: Callable[[str], str]) -> None:
    printed = real("""
from vqafast.engines.tensorrt_library import collector
logger = collector(trt)
assert collector(trt) is logger
logger.log(trt.ILogger.INFO, "chatter")
assert not logger.failed()
assert logger.last() == "it did not say why"
logger.log(trt.ILogger.WARNING, "careful")
assert not logger.failed()
logger.log(trt.ILogger.ERROR, "bad\\n")
logger.log(trt.ILogger.INTERNAL_ERROR, "worse")
assert logger.failed()
assert logger.last() == "bad; worse"
logger.log(trt.ILogger.WARNING, "careful")
assert logger.last() == "careful"
for i in range(100):
    logger.log(trt.ILogger.ERROR, str(i))
assert logger.last().endswith("; 98; 99")
assert len(logger.last()) < 100
""")
    assert printed == ""


def test_the_monitor_of_a_build(real: Callable[[str], str]) -> None:
    real("""
import threading
from vqafast.engines.tensorrt_build import _monitor
stop = threading.Event()
monitor = _monitor(trt, stop)
assert isinstance(monitor, trt.IProgressMonitor)
monitor.phase_start("Tactics", None, 3)
assert monitor.step_complete("Tactics", 0) is True
stop.set()
assert monitor.step_complete("Tactics", 1) is False
monitor.phase_finish("Tactics")
""")


@pytest.mark.parametrize("kind", ["Builder", "Runtime"])
def test_a_library_that_makes_nothing_is_an_error(real: Callable[[str], str], kind: str) -> None:
    printed = real(f"""
from vqafast.engines.tensorrt_library import collector, started
try:
    started(trt.{kind}, collector(trt))
except Exception as e:
    print(type(e).__name__, e)
""")
    assert printed == "EngineUnavailable TensorRT cannot start: it did not say why\n"


def test_the_bindings_alone_are_no_tensorrt() -> None:
    """So that installing them for this test makes no engine believe that it can run."""
    try:
        files = metadata.files("tensorrt-cu13-bindings") or []
    except metadata.PackageNotFoundError:
        pytest.skip("needs tensorrt-cu13-bindings")
    tops = {file.parts[0] for file in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tensorrt_bindings"}


def test_a_runtime_without_a_driver_is_an_error() -> None:
    """The real one is made, logs why it cannot work, and would end the process when used."""
    pytest.importorskip("tensorrt_lean")
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
