#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# eval_lfw.sh [BATCH]: the vendor's sequence from photographs to accuracy, in the folder that holds weights/ and data/.
#
# DATA     folder of photographs (data/lfw)
# MODEL    what the runner is given (weights/Inception_facenet_vggface2_bs$BATCH.om; see run_msame.sh)
# MSAME    the runner, PYTHON the interpreter, BACKEND what runs MTCNN (onnxruntime)
set -eu

batch=${1:-1}
here=$(dirname "$0")
root=$here/..
python=${PYTHON:-python3}
data=${DATA:-./data/lfw}
data=${data%/}
model=${MODEL:-./weights/Inception_facenet_vggface2_bs$batch.om}
crops=${data}_split_om_cropped_$batch
packed=./data/input/Facenet_$batch
outputs=./data/output/Facenet_vggface2_$batch

for net in Pnet Rnet Onet; do
    "$python" "$root/preprocess/MTCNN_preprocess.py" --model $net --data_dir "$data" --batch_size "$batch"
done
"$python" "$root/preprocess/FaceNet_preprocess.py" --crop_dir "$crops" --save_dir "$packed" --batch_size "$batch"
log=$(sh "$here/run_msame.sh" "$model" "$packed/xb_results" ./data/output)
printf '%s\n' "$log"
rm -rf "$outputs"  # of an earlier call
mv "$(printf '%s\n' "$log" | tail -n 1)" "$outputs"
"$python" "$root/postprocess/batch_utils.py" --batch_size "$batch" --data_root_path "$outputs" \
    --save_root_path "${outputs}_2"
"$python" "$root/postprocess/FaceNet_postprocess.py" --ONet_output_dir "./data/output/split_bs$batch/onet.json" \
    --test_dir "${outputs}_2" --crop_dir "$crops" --pair_path "${PAIRS:-./data/pairs.txt}"
