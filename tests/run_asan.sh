#!/usr/bin/env bash
# Builds with AddressSanitizer and UndefinedBehaviorSanitizer and runs the C++ tests and the op tests under them.
# PYTHON picks the interpreter; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
cxx=${CXX:-c++}
build=build/asan
cmake --preset asan -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" > /dev/null
cmake --build "$build" -j "${JOBS:-2}"
"$build/parallel_test"

# A package directory of its own: the Python sources with the sanitized extension beside them.
rm -rf "$build/package" && mkdir -p "$build/package"
cp -r python/vqafast "$build/package/vqafast"
cp "$build"/_core*.so "$build/package/vqafast/"
# Python itself leaks on purpose; torch is left out because it brings its own allocator and is not ours to check.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
export VQAFAST_SANITIZED_RUN=1
runtime="$("$cxx" -print-file-name=libasan.so):$("$cxx" -print-file-name=libubsan.so):$("$cxx" -print-file-name=libstdc++.so)"
LD_PRELOAD="$runtime" PYTHONPATH="$build/package" "$python" -S - "$@" <<'PY'
import os, site, sys
# The editable install's import hook would win over PYTHONPATH: add site-packages without its .pth files.
sys.path.extend(site.getsitepackages())
sys.path.insert(0, os.getcwd())
sys.path.insert(0, os.path.join(os.getcwd(), "build/asan/package"))
import pytest
from vqafast import _core
assert _core.build_info()["sanitizers"], _core.__file__
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "not torch and not dlpack", *(sys.argv[1:] or ["tests/ops"])]))
PY
