# Sourced by run_asan.sh and run_emulated.sh: builds preset $1 into $2 and puts a package with it on PYTHONPATH, for
# "$python" -S alone: -S keeps the import hook of an editable install out; its other effect, no site-packages, is undone.
python=${PYTHON:-python}
build=$2
cmake --preset "$1" -B "$build" -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" > /dev/null
cmake --build "$build" -j "${JOBS:-2}"
rm -rf "$build/package" && mkdir -p "$build/package"
cp -r python/vqafast "$build/package/vqafast"
rm -f "$build"/package/vqafast/_core*.so
cp "$build"/_core*.so "$build/package/vqafast/"
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export PYTHONPATH="$(realpath "$build/package"):$packages:$PWD" PYTHONSAFEPATH=1
