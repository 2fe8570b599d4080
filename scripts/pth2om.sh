#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pth2om.sh [SOC]: weights to ONNX to .om, for every batch that the vendor measured. Needs CANN's atc; without SOC the
# board is asked.
set -eu

facepipe fetch mtcnn facenet.vggface2
facepipe onnx mtcnn facenet.vggface2
facepipe om pnet rnet onet ${1:+--soc "$1"}
for batch in 1 4 8 16 32; do
    facepipe om facenet.vggface2 ${1:+--soc "$1"} --batch "$batch"
done
