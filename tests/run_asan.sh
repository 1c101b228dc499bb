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
# -S keeps the import hook of an editable install out; its other effect, no site-packages, is undone by PYTHONPATH.
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Python itself leaks on purpose.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
export PYTHONPATH="$PWD/$build/package:$packages:$PWD" PYTHONSAFEPATH=1
runtime="$("$cxx" -print-file-name=libasan.so):$("$cxx" -print-file-name=libubsan.so):$("$cxx" -print-file-name=libstdc++.so)"
export LD_PRELOAD="$runtime"
"$python" -S -c 'from vqafast import _core; assert _core.build_info()["sanitizers"], _core.__file__'
# torch brings an allocator of its own, and a forked or started Python would need this same environment.
[ $# -gt 0 ] || set -- tests/ops
"$python" -S -m pytest -q -p no:cacheprovider -n 0 -k "not torch and not dlpack" "$@"
