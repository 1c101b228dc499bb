#!/usr/bin/env bash
# On a machine with a GPU: builds the package for its card, runs every test that needs one, then some of the op
# tests under compute-sanitizer (TOOLS="memcheck racecheck", none to leave it out), also after a failed test.
# PYTHON picks the interpreter, which must have torch for CUDA and the build requirements of pyproject.toml;
# extra arguments go to pytest. Exits with 1 if the tests failed, 2 if a sanitizer did, 3 if both.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=${SITE:-$(mktemp -d)}
export PATH="/usr/local/cuda/bin:$PATH" PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}" FAIL_WITHOUT_CUDA=1
"$python" -m pip install --quiet --no-build-isolation --no-deps --no-compile --upgrade --target "$site" \
  -C cmake.define.VQAFAST_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" .
"$python" -c 'from vqafast import _core; assert _core.build_info()["cuda"], _core.__file__'
# Torch and the libraries below it warn about their own ageing: only the tests on the CPU make that an error.
common=(-q -p no:cacheprovider -o filterwarnings=default)
# The folders that hold such tests: others need packages that have nothing to do with a GPU.
folders=(tests/ops tests/engines tests/models tests/scoring tests/video)
failed=0
"$python" -m pytest "${common[@]}" -m cuda "$@" "${folders[@]}" || failed=1
sanitized="same_bits or more_crops or rows_with_a_stride or strided_frames or lengths_out_of_range"
for tool in ${TOOLS-memcheck racecheck}; do
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m pytest "${common[@]}" -n 0 \
    -k "$sanitized" tests/ops/test_cuda.py tests/ops/test_cuda_video.py || failed=$((failed | 2))
done
exit "$failed"
