#!/usr/bin/env bash
# On a machine with a GPU: builds the package for its card, runs every test that needs one, then some of the op tests
# under compute-sanitizer (TOOLS="memcheck racecheck", none to leave it out). PYTHON picks the interpreter, which must
# have torch for CUDA and the build requirements of pyproject.toml; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=${SITE:-$(mktemp -d)}
export PATH="/usr/local/cuda/bin:$PATH" PYTHONPATH="$site:$PWD" FAIL_WITHOUT_CUDA=1
"$python" -m pip install --quiet --no-build-isolation --no-deps --no-compile --upgrade --target "$site" \
  -C cmake.define.VQAFAST_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" .
"$python" -c 'from vqafast import _core; assert _core.build_info()["cuda"], _core.__file__'
# Torch and the libraries below it warn about their own ageing: only this project's tests on the CPU make that an error.
common=(-q -p no:cacheprovider -o filterwarnings=default)
"$python" -m pytest "${common[@]}" -m cuda "$@" tests
sanitized="same_bits or more_crops or rows_with_a_stride or strided_frames or lengths_out_of_range"
for tool in ${TOOLS-memcheck racecheck}; do
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m pytest "${common[@]}" -n 0 \
    -k "$sanitized" tests/ops/test_cuda.py tests/ops/test_cuda_video.py
done
