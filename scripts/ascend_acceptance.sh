#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Accepts a board: environment, compile, parity of each .om against onnxruntime, by every runner that is here, with AIPP, of
# a range, on every device; what failures look like; the precision compiled; LFW accuracy, latency, memory.
# Writes one Markdown report, whose first lines say what passed. Status 0 when every step did.
#
#   SOC=Ascend310 BATCH=16 scripts/ascend_acceptance.sh
#
# Variables: SOC (default: what the board says), BATCH (16), DEVICE (0), BACKEND (pyacl, msame or ais_bench),
# EMBEDDER (the first that is converted), DATA and PAIRS (LFW), WEIGHTS (weights), OUT (runs/ascend), CANN, PRECISION,
# MARGIN (0.002: how far the accuracy may lie below onnxruntime's), LEAK (64 MB of device memory that may be missing at the
# end), SHAPES (the vendor's table), RANGES (its rows that were models of a range), FACEPIPE.
set -u -o pipefail

FACEPIPE=${FACEPIPE:-$([ -x .venv/bin/facepipe ] && echo .venv/bin/facepipe || echo facepipe)}
PYTHON=${PYTHON:-$(dirname "$(command -v "$FACEPIPE")")/python}
BATCH=${BATCH:-16}
DEVICE=${DEVICE:-0}
BACKEND=${BACKEND:-pyacl}
WEIGHTS=${WEIGHTS:-weights}
OUT=${OUT:-runs/ascend}
MARGIN=${MARGIN:-0.002}
DETECTOR_MODELS="pnet rnet onet"
DEVLIB=${DEVLIB:-${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/cann}/$(uname -m)-linux/devlib}
RANGES=${RANGES-"pnet:1x3x1500x1500 rnet:100x3x24x24 onet:50x3x48x48"}
SHAPES=${SHAPES-"pnet:1x3x1500x1500 pnet:4x3x1500x1500 pnet:8x3x1500x1500 rnet:100x3x24x24 rnet:800x3x24x24
rnet:1600x3x24x24 onet:50x3x48x48 onet:400x3x48x48 onet:800x3x48x48 embedder:1 embedder:4 embedder:8 embedder:16
embedder:32"}

command -v "$FACEPIPE" >/dev/null || { echo "ascend_acceptance: no '$FACEPIPE', expected facepipe. Try: make onnx" >&2; exit 1; }
if [ -z "${SOC:-}" ]; then
  SOC=$("$PYTHON" -c 'from facepipe.backends.ascend.board import board_soc; print(board_soc().name)' 2>/dev/null) || SOC=
fi
[ -n "$SOC" ] || { echo "ascend_acceptance: the chip is not known. Try: SOC=Ascend310P3, see docs/ascend.md" >&2; exit 1; }
if [ -z "${EMBEDDER:-}" ]; then
  for name in facenet.vggface2 facenet.casia mobilefacenet.ms1m facenet.seeded; do
    [ -f "$WEIGHTS/$name.simplified.onnx" ] && { EMBEDDER=$name; break; }
  done
fi
[ -n "${EMBEDDER:-}" ] || { echo "ascend_acceptance: no embedder in $WEIGHTS. Try: make onnx" >&2; exit 1; }

# --force: what was begun with other models is begun again, what was begun with these is resumed.
compile_options=(--soc "$SOC" ${CANN:+--cann "$CANN"} ${PRECISION:+--precision "$PRECISION"})
lfw_options=(--force --batch "$BATCH" --embedder "$EMBEDDER" --weights "$WEIGHTS" ${DATA:+--data "$DATA"} ${PAIRS:+--pairs "$PAIRS"})

rm -rf "$OUT/logs" "$OUT/models" "$OUT/aipp" "$OUT/range" "$OUT/failures" "$OUT/devlib" && mkdir -p "$OUT/logs" "$OUT/models" || exit 1
rows="$OUT/logs/steps" failed=0 total=0
: >"$rows"

# step NAME COMMAND...: run it, keep what it prints, note its result; go on whatever it is
step() {
  local name=$1 log="$OUT/logs/$1.log" began=$SECONDS status
  shift
  echo "$name ..." >&2
  { echo "\$ $*"; "$@"; } >"$log" 2>&1
  status=$?
  total=$((total + 1))
  [ $status -eq 0 ] || { failed=$((failed + 1)); tail -n 3 "$log" >&2; }
  echo "| $name | $([ $status -eq 0 ] && echo passed || echo "**failed** ($status)") | $((SECONDS - began)) | logs/$name.log |" >>"$rows"
  return $status
}

environment() {
  local missing=0
  uname -srm
  "$FACEPIPE" --version
  "$PYTHON" -c 'import os; from facepipe.convert.ascend.atc import installed_cann; print("CANN", installed_cann(os.environ))'
  echo "ASCEND_TOOLKIT_HOME=${ASCEND_TOOLKIT_HOME:-unset}"
  cat "${ASCEND_TOOLKIT_HOME:-/nowhere}"/*-linux/*_install.info 2>/dev/null
  npu-smi info || { echo "npu-smi: not here, or no device"; missing=1; }
  atc --help >/dev/null || { echo "atc: not on PATH; source set_env.sh"; missing=1; }
  "$FACEPIPE" backends | tee "$OUT/logs/backends"
  grep -q "^$BACKEND  *available" "$OUT/logs/backends" || { echo "backend $BACKEND is not available"; missing=1; }
  return $missing
}

check() { # shellcheck disable=SC2086
  "$FACEPIPE" check $DETECTOR_MODELS "$EMBEDDER" --weights "$WEIGHTS" --soc "$SOC" ${CANN:+--cann "$CANN"} --quiet
}

compile() { # shellcheck disable=SC2086
  "$FACEPIPE" om $DETECTOR_MODELS "$EMBEDDER" --weights "$WEIGHTS" --batch "$BATCH" --logs "$OUT/logs" \
    ${DATA:+--photographs "$([ -d "$DATA/images" ] && echo "$DATA/images" || echo "$DATA")"} "${compile_options[@]}"
}

parity() { # MODEL, and where it differs from the usual: BACKEND DEVICE WEIGHTS
  "$FACEPIPE" parity "$1" --against "${2:-$BACKEND}" --batch "$BATCH" --device "${3:-$DEVICE}" --weights "${4:-$WEIGHTS}"
}

available() { grep -q "^$1  *available" "$OUT/logs/backends"; }

# variant NAME MODEL OPTIONS...: compiled apart, in a folder of its own, and held against onnxruntime
variant() {
  local folder="$OUT/$1" model=$2
  shift 2
  mkdir -p "$folder" && ln -sf "$(realpath "$WEIGHTS/$model.simplified.onnx")" "$folder/" &&
    "$FACEPIPE" om "$model" --weights "$folder" --logs "$OUT/logs" --batch "$BATCH" "${compile_options[@]}" "$@" &&
    parity "$model" "$BACKEND" "$DEVICE" "$folder"
}

other_devices() { # the recogniser on every other device that npu-smi lists
  local device failed=0
  for device in $(seq 0 $(($(devices) - 1))); do
    [ "$device" = "$DEVICE" ] || parity "$EMBEDDER" "$BACKEND" "$device" || failed=1
  done
  return $failed
}

devices() {
  npu-smi info |
    "$PYTHON" -c 'import sys; from facepipe.backends.ascend.board import memory_of_devices as m; print(len(m(sys.stdin.read())))'
}

# What a person sees when something is wrong: each must fail, and in words. Without its record pyacl leaves an .om to the
# runtime to judge.
failures() {
  local folder="$OUT/failures" om other=Ascend310P3 failed=0
  [ "$SOC" = Ascend310P3 ] && other=Ascend910B4
  om=$(ls "$WEIGHTS"/rnet.*"$SOC".om | head -n 1) || return 1
  mkdir -p "$folder/torn" "$folder/other" || return 1
  head -c 4000 "$om" >"$folder/torn/$(basename "$om")"
  ln -sf "$(realpath "$WEIGHTS/rnet.simplified.onnx")" "$folder/other/"
  if "$FACEPIPE" om rnet --weights "$folder/other" --logs "$OUT/logs" --soc "$other" ${CANN:+--cann "$CANN"}; then
    mv "$folder/other/rnet.$other.om" "$folder/other/rnet.$SOC.om" && rm -f "$folder/other/rnet.$other.om.json"
  fi
  must_fail "a torn .om" --weights "$folder/torn" || failed=1
  must_fail "an .om of another chip ($other)" --weights "$folder/other" || failed=1
  must_fail "a batch that is no gear" --weights "$WEIGHTS" --batch 7 || failed=1
  must_fail "a device that is not there" --weights "$WEIGHTS" --device 99 || failed=1
  return $failed
}

must_fail() { # WHAT OPTIONS...
  local what=$1 said
  shift
  if said=$("$FACEPIPE" bench rnet --backend pyacl "$@" 2>&1); then
    echo "$what: it was not refused"
    return 1
  fi
  echo "$what: $(tail -n 1 <<<"$said")"
}

# The types in the compiled recogniser, by ATC's own reading of it.
precision() {
  local om
  om=$(ls "$WEIGHTS/$EMBEDDER".*"$SOC".om | head -n 1) || return 1
  atc --mode=1 --om="$om" --json="$OUT/logs/om.json" >/dev/null || return 1
  echo "asked: ${PRECISION:-the default, half precision}; tensors in $(basename "$om") by type:"
  grep -oE '"(DT_)[A-Z0-9]+"' "$OUT/logs/om.json" | sort | uniq -c
}

# As on a machine without a device: the stub of the driver's library comes first.
without_device() {
  [ -f "$DEVLIB/libascend_hal.so" ] || { echo "no $DEVLIB/libascend_hal.so"; return 1; }
  mkdir -p "$OUT/devlib" && ln -sf "$(realpath "$WEIGHTS/rnet.simplified.onnx")" "$OUT/devlib/" &&
    LD_LIBRARY_PATH="$DEVLIB:${LD_LIBRARY_PATH:-}" "$FACEPIPE" om rnet --weights "$OUT/devlib" --logs "$OUT/logs" \
      --batch "$BATCH" "${compile_options[@]}"
}

accuracy() { # of the board, beside onnxruntime on the same photographs
  "$FACEPIPE" lfw --run "$OUT/lfw-onnxruntime" --backend onnxruntime "${lfw_options[@]}" &&
    "$FACEPIPE" lfw --run "$OUT/lfw-$BACKEND" --backend "$BACKEND" --device "$DEVICE" "${lfw_options[@]}" &&
    "$FACEPIPE" parity --runs "$OUT/lfw-onnxruntime" "$OUT/lfw-$BACKEND" &&
    "$PYTHON" - "$OUT/lfw-onnxruntime/accuracy.json" "$OUT/lfw-$BACKEND/accuracy.json" "$MARGIN" <<'PYTHON'
import json, sys
reference, board = (json.load(open(path))["accuracy"]["mean"] for path in sys.argv[1:3])
print(f"accuracy: onnxruntime {reference:.4f}, board {board:.4f}, difference {board - reference:+.4f}")
sys.exit(f"below by more than {sys.argv[3]}" if board < reference - float(sys.argv[3]) else 0)
PYTHON
}

# latency MODEL SHAPE KIND: a model compiled for that very shape ("static", or a "range" with it at its top), timed in a
# process of its own, the execution apart from the copies; a line of the table
latency() {
  local model=$1 shape=$2 batch=${2%%x*} kind=${3:-static} sizes=() size
  if [ "$model" = embedder ]; then
    model=$EMBEDDER
    size=$([ "${EMBEDDER%%.*}" = facenet ] && echo 160 || echo 112)
    shape="${batch}x3x${size}x${size}"
  fi
  size=${shape#*x}
  [ "$model" = pnet ] && sizes=(--image-sizes "${size#*x}")
  ln -sf "$(realpath "$WEIGHTS/$model.simplified.onnx")" "$OUT/models/" || return 1
  "$FACEPIPE" om "$model" --weights "$OUT/models" --logs "$OUT/logs" --batch "$batch" --shapes "$kind" "${sizes[@]}" \
    "${compile_options[@]}" || return 1
  "$FACEPIPE" bench "$model" --shape "$shape" --weights "$OUT/models" --backend "$BACKEND" --device "$DEVICE" --json \
    >"$OUT/logs/latency.json" || return 1
  "$PYTHON" - "$shape" "$OUT/logs/latency.json" "$kind" <<'PYTHON' | tee -a "$OUT/logs/latency.md"
import json, sys
row = json.load(open(sys.argv[2]))
rows, stages = row["shape"][0], row["stages"]
copies = [f"{stages[name]['median_ms']:.3f}" if stages[name] else "-" for name in ("copy_in", "copy_out")]
print(f"| {row['model']} | {sys.argv[1]} | {sys.argv[3]} | {copies[0]} | {row['median_ms']:.3f} | {row['mean_ms']:.3f} "
      f"| {copies[1]} | {row['median_ms'] / rows:.4f} | {1000 * rows / row['mean_ms']:.1f} | {row['calls']} |")
PYTHON
}

# card: every device at once, the recogniser at BATCH; the vendor's figure is a card's
card() {
  local device pids=() failed=0
  for device in $(seq 0 $(($(devices) - 1))); do
    "$FACEPIPE" bench "$EMBEDDER" --batch "$BATCH" --weights "$WEIGHTS" --backend "$BACKEND" --device "$device" --json \
      >"$OUT/logs/card-$device.json" &
    pids+=($!)
  done
  for device in "${pids[@]}"; do wait "$device" || failed=1; done
  "$PYTHON" - "$OUT"/logs/card-*.json <<'PYTHON'
import json, sys
rows = [json.load(open(path)) for path in sys.argv[1:]]
each = [1000 * row["shape"][0] / row["mean_ms"] for row in rows]
print(f"{rows[0]['model']} at batch {rows[0]['shape'][0]}: {len(each)} devices at once, {sum(each):.1f} rows per second, "
      f"{min(each):.1f} the slowest device")
PYTHON
  return $failed
}

takes_ranges() {
  "$PYTHON" - "$SOC" "${CANN:-}" <<'PYTHON'
import os, sys
from facepipe.catalogue.chips import DEFAULT_CANN, soc_by_name, takes_ranges
from facepipe.convert.ascend.atc import installed_cann
sys.exit(not takes_ranges(soc_by_name(sys.argv[1]), sys.argv[2] or installed_cann(os.environ) or DEFAULT_CANN))
PYTHON
}

# What npu-smi says of memory while the rest runs, a form feed between tables.
watch_once() { npu-smi info 2>/dev/null >>"$OUT/logs/npu-smi.txt" && printf '\f' >>"$OUT/logs/npu-smi.txt"; }
watch_memory() { while sleep "${EVERY:-2}" && watch_once; do :; done; }

step environment environment
watch_once
watch_memory &
watcher=$!
trap 'kill $watcher 2>/dev/null' EXIT
step check check
if step compile compile; then
  for model in $DETECTOR_MODELS $EMBEDDER; do step "parity-$model" parity "$model"; done
  for other in pyacl msame ais_bench onnxruntime-cann; do
    [ "$other" = "$BACKEND" ] || ! available "$other" || step "parity-$other" parity "$EMBEDDER" "$other"
  done
  case $EMBEDDER in facenet.*) step aipp variant aipp "$EMBEDDER" --aipp ;; esac
  takes_ranges && step range variant range pnet --shapes range
  step devices other_devices
  available pyacl && step failures failures
  step precision precision
  step device-less without_device
  step accuracy accuracy
  # Nothing is polled while it is timed.
  kill $watcher 2>/dev/null
  for item in $SHAPES; do step "latency-${item/:/-}" latency "${item%%:*}" "${item#*:}"; done
  takes_ranges && for item in $RANGES; do step "range-${item/:/-}" latency "${item%%:*}" "${item#*:}" range; done
  step card card
fi

memory() { # of the device that was used: before, at the highest, after
  "$PYTHON" - "$OUT/logs/npu-smi.txt" "$DEVICE" "${LEAK:-64}" <<'PYTHON'
import pathlib, sys
from facepipe.backends.ascend.board import memory_of_devices
path, device, leak = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
tables = [memory_of_devices(text) for text in path.read_text().split("\f")] if path.is_file() else []
found = [table[device] for table in tables if device < len(table)]
if not found:
    sys.exit(f"npu-smi printed no memory of device {device} in the form 'used / all'")
before, most, after = found[0][0], max(used for used, _ in found), found[-1][0]
print(f"memory of device {device}: {before} MB before, {most} of {found[0][1]} MB at the highest, {after} MB after")
sys.exit(f"{after - before} MB were not given back" if after - before > leak else 0)
PYTHON
}
watch_once
step memory memory

{
  echo "# Acceptance of $SOC"
  echo
  echo "$([ $failed -eq 0 ] && echo "**Passed**" || echo "**Failed: $failed of $total steps**"), $(date -u +%Y-%m-%dT%H:%MZ)," \
    "backend $BACKEND, batch $BATCH, embedder $EMBEDDER, device $DEVICE."
  echo
  echo "| step | result | seconds | log |"
  echo "|---|---|---|---|"
  cat "$rows"
  for name in environment failures precision accuracy memory; do
    [ -f "$OUT/logs/$name.log" ] || continue
    printf '\n## %s\n\n```text\n' "$name"
    sed 's/.*\r//' "$OUT/logs/$name.log" 2>/dev/null
    printf '```\n'
  done
  printf '\n## parity against onnxruntime\n\n```text\n'
  for log in "$OUT"/logs/parity-*.log; do [ -f "$log" ] && grep -v '^\$' "$log"; done
  printf '```\n'
  printf '\n## latency and throughput of one device\n\nMilliseconds of a call. The vendor published the execution alone, a card of '
  printf 'four devices, and for pnet, rnet and onet models of a range, which are another kind than static ones.\n\n'
  printf '| model | input | kind | copy in | execute, median | mean | copy out | a row | rows per second | calls |\n'
  printf '|---|---|---|---|---|---|---|---|---|---|\n'
  cat "$OUT/logs/latency.md" 2>/dev/null
  printf '\n## the card\n\n'
  tail -n 1 "$OUT/logs/card.log" 2>/dev/null
} >"$OUT/report.md"

echo "$OUT/report.md: $([ $failed -eq 0 ] && echo passed || echo "$failed of $total steps failed")"
[ $failed -eq 0 ]
