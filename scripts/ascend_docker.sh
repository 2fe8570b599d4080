#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# facepipe on a board, in a container: scripts/ascend_docker.sh lfw --backend pyacl --batch 16
# Maps what a container needs of the driver (GE docs/zh/quick_install.md), the devices that DEVICES names (0), and this
# folder. IMAGE: facepipe-ascend, which scripts/ascend.Dockerfile makes. It was run nowhere here.
set -eu

devices=()
for device in ${DEVICES:-0}; do devices+=(--device "/dev/davinci$device"); done
exec ${DOCKER:-docker} run --rm \
  "${devices[@]}" --device /dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc \
  --volume /usr/local/dcmi:/usr/local/dcmi:ro \
  --volume /usr/local/bin/npu-smi:/usr/local/bin/npu-smi:ro \
  --volume /usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64:ro \
  --volume /usr/local/Ascend/driver/version.info:/usr/local/Ascend/driver/version.info:ro \
  --volume /etc/ascend_install.info:/etc/ascend_install.info:ro \
  --volume "$PWD:/work" --workdir /work \
  "${IMAGE:-facepipe-ascend}" "$@"
