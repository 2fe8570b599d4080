#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# facepipe on aarch64, as in a Kunpeng server or an Orange Pi: Debian 12's qemu-user runs the index's aarch64 wheels, and
# the same photographs are looked at here and there. `make aarch64` calls it; PHOTOGRAPHS is a folder of them.
#
# No root and no binfmt_misc: packages are unpacked below OUT (build/aarch64, 1 GB), and sys.executable is a wrapper.
# About 210 MB are fetched once. Two traps are closed here: onnxruntime reads /proc/cpuinfo and dies of an x86 one, so
# the root has that of a Neoverse N1, to which qemu's -L redirects; under `-cpu max` NumPy's products warn falsely.
set -eu -o pipefail

OUT=$(realpath -m "${OUT:-build/aarch64}") PYTHON=${PYTHON:-.venv/bin/python} WEIGHTS=${WEIGHTS:-weights}
HERE=$(cd "$(dirname "$0")/.." && pwd)
fail() { echo "make aarch64: $1" >&2; exit 1; }
. /etc/os-release
[ "$(uname -m)" = x86_64 ] && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ] ||
  fail "this is ${PRETTY_NAME:-another system} on $(uname -m), expected Debian 12 on x86_64, whose qemu-user is used."
for name in pnet rnet onet; do
  [ -f "$WEIGHTS/$name.simplified.onnx" ] || fail "no $WEIGHTS/$name.simplified.onnx. Try: make onnx"
done
[ -d "${PHOTOGRAPHS:-}" ] || fail "PHOTOGRAPHS is no folder. Try: make aarch64 PHOTOGRAPHS=photographs"

mkdir -p "$OUT"/{lists/partial,cache/archives/partial,debs,host,root,wheels}
cat >"$OUT/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
Dir::State::Lists "$OUT/lists";
Dir::State::status "$OUT/status";
Dir::Cache "$OUT/cache";
APT::Sandbox::User "";
CONF
: >"$OUT/status"
packages="libc6 libgcc-s1 libstdc++6 zlib1g libssl3 libffi8 libexpat1 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libcrypt1
python3.11-minimal libpython3.11-minimal libpython3.11-stdlib"
if [ ! -f "$OUT/unpacked" ]; then
  export APT_CONFIG="$OUT/apt.conf"
  apt-get -qq update
  # shellcheck disable=SC2086
  (cd "$OUT/debs" && apt-get -qq download qemu-user-static:amd64 $(printf '%s:arm64 ' $packages))
  for deb in "$OUT"/debs/*.deb; do
    case $deb in *_amd64.deb) dpkg -x "$deb" "$OUT/host" ;; *) dpkg -x "$deb" "$OUT/root" ;; esac
  done
  mkdir -p "$OUT/root/proc"
  for core in 0 1; do
    printf 'processor\t: %s\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid ' $core
    printf 'asimdrdm lrcpc dcpop asimddp ssbs\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n'
    printf 'CPU part\t: 0xd0c\nCPU revision\t: 1\n\n'
  done >"$OUT/root/proc/cpuinfo"
  touch "$OUT/unpacked"
fi
if [ ! -f "$OUT/site/ready" ]; then
  platforms=$(printf -- '--platform manylinux_%s_aarch64 ' 2_17 2_26 2_27 2_28)
  # shellcheck disable=SC2086
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version 3.11 $platforms \
    --platform manylinux2014_aarch64 -c "$HERE/constraints.txt" -d "$OUT/wheels" numpy pillow tqdm onnxruntime numba llvmlite onnx
  mkdir -p "$OUT/site"
  for wheel in "$OUT"/wheels/*.whl; do "$PYTHON" -m zipfile -e "$wheel" "$OUT/site"; done
  touch "$OUT/site/ready"
fi
cat >"$OUT/python" <<WRAPPER
#!/bin/sh
export PYTHONHOME="$OUT/root/usr" PYTHONPATH="$HERE/src:$OUT/site" QEMU_CPU=neoverse-n1 OPENBLAS_NUM_THREADS=1
exec "$OUT/host/usr/bin/qemu-aarch64-static" -L "$OUT/root" -0 "$OUT/python" "$OUT/root/usr/bin/python3.11" "\$@"
WRAPPER
chmod +x "$OUT/python"

"$PYTHON" "$HERE/tests/aarch64.py" look "$PHOTOGRAPHS" "$WEIGHTS" "$OUT/x86.npz"
"$OUT/python" "$HERE/tests/aarch64.py" look "$PHOTOGRAPHS" "$WEIGHTS" "$OUT/arm.npz"
"$PYTHON" "$HERE/tests/aarch64.py" compare "$OUT/x86.npz" "$OUT/arm.npz"
