#!/usr/bin/env bash
# Builds with AddressSanitizer and UndefinedBehaviorSanitizer and runs the C++ tests and the op tests under them; the
# CUDA kernels emulated on the CPU. PYTHON picks the interpreter; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/built_package.sh asan build/asan
"$build/parallel_test"
"$build/cuda_emulation_test"

cxx=${CXX:-c++}
# Python itself leaks on purpose.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1
runtime="$("$cxx" -print-file-name=libasan.so):$("$cxx" -print-file-name=libubsan.so):$("$cxx" -print-file-name=libstdc++.so)"
export LD_PRELOAD="$runtime"
"$python" -S -c 'from vqafast import _core; assert _core.build_info()["sanitizers"], _core.__file__'
# torch brings an allocator of its own, and a forked or started Python would need this same environment.
[ $# -gt 0 ] || set -- tests/ops
"$python" -S -m pytest -q -p no:cacheprovider -n 0 -k "not torch and not dlpack and not half_maps and not emulated" "$@"
