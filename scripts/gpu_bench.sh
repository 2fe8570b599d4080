#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The seed's fourteen shapes on a GPU, after parity with the CPU. Writes one Markdown page; status 0 when parity held.
#
#   scripts/gpu_bench.sh
#
# Variables: BACKENDS ("onnxruntime-cuda", or "onnxruntime-cuda onnxruntime-tensorrt"), PRECISION (f32), DEVICE (0),
# WEIGHTS (weights), OUT (runs/gpu/gpu.md), FACEPIPE. The environment needs onnxruntime-gpu in place of onnxruntime.
set -u -o pipefail

FACEPIPE=${FACEPIPE:-$([ -x .venv/bin/facepipe ] && echo .venv/bin/facepipe || echo facepipe)}
BACKENDS=${BACKENDS:-onnxruntime-cuda}
PRECISION=${PRECISION:-f32}
DEVICE=${DEVICE:-0}
WEIGHTS=${WEIGHTS:-weights}
OUT=${OUT:-runs/gpu/gpu.md}
NETWORKS="pnet rnet onet facenet.seeded"

mkdir -p "$(dirname "$OUT")" || exit 1
part=$OUT.part
failed=0
{
  echo "# FaceNet's networks on a GPU"
  echo
  echo "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi'), $(date -I), $PRECISION"
  for backend in $BACKENDS; do
    printf '\n## %s\n\n```\n' "$backend"
    # shellcheck disable=SC2086 # the names are words
    $FACEPIPE parity $NETWORKS --against "$backend" --batch 16 --device "$DEVICE" --weights "$WEIGHTS" || failed=1
    options="--backend $backend --precision $PRECISION --device $DEVICE --weights $WEIGHTS"
    # shellcheck disable=SC2086
    {
      $FACEPIPE bench pnet --shape 1x3x1500x1500 4x3x1500x1500 8x3x1500x1500 $options &&
        $FACEPIPE bench rnet --batch 100 800 1600 $options &&
        $FACEPIPE bench onet --batch 50 400 800 $options &&
        $FACEPIPE bench facenet.seeded --batch 1 4 8 16 32 $options
    } || failed=1
    echo '```'
  done
} >"$part" 2>&1
mv "$part" "$OUT"
cat "$OUT"
exit "$failed"
