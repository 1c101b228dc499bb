#!/usr/bin/env bash
# Where there is no GPU: builds the CUDA kernels for the CPU (tests/cuda_emulation) and runs their tests. PYTHON picks the
# interpreter, BUILD the folder; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/built_package.sh emulated "${BUILD:-build/emulated}"
"$build/cuda_emulation_test"
export FAIL_WITHOUT_CUDA=1
"$python" -S -m pytest -q -p no:cacheprovider -n 0 tests/ops/test_cuda.py tests/ops/test_cuda_video.py "$@"
