#!/usr/bin/env bash
# Where there is no GPU: the tests for one, above the ops, on an emulated card (tests/card_emulation) with the emulated
# kernels. FFmpeg finds the card's driver as it finds a real one; torch's part of the card is played in Python. PYTHON
# picks the interpreter, BUILD the folder; extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/built_package.sh emulated "${BUILD:-build/emulated}"
# Also in the processes that a test starts.
printf 'from tests.card_emulation import torch_card\n\ntorch_card.install()\n' >> "$build/package/vqafast/__init__.py"
card=$(realpath "$build")/card
mkdir -p "$card/pictures"
"${CXX:-c++}" -std=c++17 -O1 -Wall -Wextra -Werror -shared -fPIC -o "$card/libcuda.so.1" tests/card_emulation/*.cc
ln -sf libcuda.so.1 "$card/libnvcuvid.so.1"
export LD_LIBRARY_PATH="$card${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" VQAFAST_CARD_PICTURES="$card/pictures" FAIL_WITHOUT_CUDA=1
folders=(tests/engines tests/farm tests/models tests/scoring tests/video)
"$python" -S -m pytest -q -p no:cacheprovider -n 0 -m cuda "$@" "${folders[@]}"
