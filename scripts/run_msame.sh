#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_msame.sh MODEL INPUT_FOLDER OUTPUT_FOLDER: run a model over .bin files; the last line is the folder it made.
#
# MSAME names the program: msame on a board, by default facepipe's stand-in over onnxruntime. msame itself ends with
# status 0 after most failures and names its folder by the time, so success is told by its last message and by one new
# folder, never by status or name. (msame: github.com/Ascend/tools.)
set -eu

if [ $# -ne 3 ]; then
    echo "usage: $0 MODEL INPUT_FOLDER OUTPUT_FOLDER" >&2
    exit 2
fi
mkdir -p "$3"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ls -1 "$3" | sort > "$scratch/before"
# Not a pipe: its status would be tee's.
status=0
${MSAME:-facepipe msame} --model "$1" --input "$2" --output "$3" > "$scratch/log" || status=$?
cat "$scratch/log"
if [ "$status" -ne 0 ] || ! grep -q 'Execute sample success' "$scratch/log"; then
    echo "$0: the runner failed (status $status); its messages are above." >&2
    exit 1
fi
ls -1 "$3" | sort | comm -13 "$scratch/before" - > "$scratch/new"
if [ "$(wc -l < "$scratch/new")" -ne 1 ]; then
    echo "$0: $(wc -l < "$scratch/new") new entries in $3 after the run, expected 1 folder." >&2
    exit 1
fi
echo "$3/$(cat "$scratch/new")"
